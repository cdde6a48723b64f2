"""`ballastctl audit-policy merge`: what is missing is added, and nothing else changes."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ballastctl.cli import main

POLICY = """\
# Ours, reviewed by security.
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages:
  - "RequestReceived"
rules:
  # Too many.
  - level: None
    users: ["system:kube-proxy"]
    verbs: ["watch"]
  - level: RequestResponse
    omitStages: [ResponseStarted, ResponseComplete]
    resources:
      - group: ""
        resources: ["secrets"]
"""
ADDED = """\
--- FILE
+++ merged
@@ -5,11 +5,18 @@
   - "RequestReceived"
 rules:
   # Too many.
-  - level: None
+  - level: Metadata
     users: ["system:kube-proxy"]
     verbs: ["watch"]
+    omitStages:
+      - RequestReceived
+      - ResponseStarted
   - level: RequestResponse
-    omitStages: [ResponseStarted, ResponseComplete]
+    omitStages: [ResponseStarted]
     resources:
       - group: ""
         resources: ["secrets"]
+  - level: Metadata
+    omitStages:
+      - RequestReceived
+      - ResponseStarted
"""


def merged(folder: Path, text: str) -> tuple[Result, str]:
    """What the command says, and what it wrote."""
    file, output = folder / "policy.yaml", folder / "merged.yaml"
    file.write_text(text)
    result = CliRunner().invoke(main, ["audit-policy", "merge", str(file), "--output", str(output)])
    return result, output.read_text() if output.exists() else ""


def test_what_is_missing_is_added_and_shown_and_the_rest_stays_letter_by_letter(tmp_path: Path) -> None:
    result, text = merged(tmp_path, POLICY)
    assert result.exit_code == 0
    assert result.stdout.replace(str(tmp_path / "policy.yaml"), "FILE") == ADDED
    assert result.stderr.splitlines() == [
        "rule 1 dropped its requests: their end is told now, at level Metadata",
        "rule 2 omitted the stage ResponseComplete: it is told now",
        "no rule matched the rest: a last one tells their end, at level Metadata",
    ]
    again, same = merged(tmp_path, text)
    assert again.stdout.endswith("nothing is missing\n")
    assert same == text


def test_a_policy_that_tells_everything_stays_as_it_is(tmp_path: Path) -> None:
    text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level:   Request # all\n- {level: None}\n"
    result, written = merged(tmp_path, text)
    assert result.stdout.endswith("nothing is missing\n")
    assert written == text


def test_the_end_of_a_request_is_not_omitted_by_the_policy_as_a_whole(tmp_path: Path) -> None:
    text = (
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [ResponseComplete, Panic]\nrules:\n- level: Metadata\n"
    )
    result, written = merged(tmp_path, text)
    assert result.stderr == "the policy omitted the stage ResponseComplete and Panic: it is told now\n"
    assert "omitStages" not in written


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "it is no mapping"),
        (
            "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\n",
            "it is audit.k8s.io/v1beta1 Policy; what is understood is",
        ),
        ("apiVersion: audit.k8s.io/v1\nkind: Policy\n", "it has no rules"),
        ("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Loud}]\n", "rule 1 needs a level, one of: None,"),
        ("a: [", "while parsing"),
    ],
)
def test_what_is_no_policy_is_named_and_nothing_is_written(tmp_path: Path, text: str, words: str) -> None:
    result, written = merged(tmp_path, text)
    assert result.exit_code == 2
    assert words in result.stderr
    assert written == ""
