import os
from pathlib import Path

import pytest

from ballast_remediator.tokens import RIGHTS, Right, Role, Tokens
from kube_ballast.configfile import ConfigError
from tests.remediator.web.setting import INGEST, AsRole, Site, entry


def rewrite(site: Site, text: str) -> None:
    site.tokens.write_text(text)
    later = site.tokens.stat().st_mtime_ns + 1_000_000
    os.utime(site.tokens, ns=(later, later))


def test_nobody_both_reports_a_fault_and_approves_its_remedy() -> None:
    assert not [role for role, rights in RIGHTS.items() if {Right.INGEST, Right.DECIDE} <= rights]
    assert set(RIGHTS) == set(Role)


def test_a_new_token_works_and_an_old_one_stops_with_the_next_request(as_role: AsRole, site: Site) -> None:
    rewrite(site, "tokens:\n" + entry("alertmanager", "ingest", "new") + entry("viewer", "viewer", "viewer-secret"))
    assert as_role("ingest").post(INGEST, data=b"{").status_code == 401
    renewed = as_role("ingest")
    renewed.headers["Authorization"] = "Bearer new"
    assert renewed.post(INGEST, data=b"{").status_code == 400
    assert as_role("viewer").get("/api/v1/runs").status_code == 200


@pytest.mark.parametrize("text", ["tokens: []\n", "", "tokens: [\n", "tokens:\n  - {name: a}\n"])
def test_a_file_that_cannot_be_used_leaves_the_last_good_one_in_force(site: Site, text: str) -> None:
    tokens = Tokens(site.tokens)
    rewrite(site, text)
    holder = tokens.holder("viewer-secret")
    assert (holder and holder.name) == "viewer"
    assert str(site.tokens) in str(tokens.problem)
    rewrite(site, "tokens:\n" + entry("bob", "viewer", "b"))
    assert tokens.problem is None
    assert tokens.holder("viewer-secret") is None


def test_a_file_that_is_gone_leaves_the_last_good_one_in_force(site: Site) -> None:
    tokens = Tokens(site.tokens)
    site.tokens.unlink()
    assert tokens.holder("viewer-secret") is not None
    assert "cannot be read" in str(tokens.problem)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tokens:\n  - {name: a, role: boss, sha256: x}\n", ":2: tokens.0.role: "),
        ("tokens:\n" + entry("a", "viewer", "1") + entry("a", "viewer", "2"), "the name a stands twice"),
        ("tokens:\n" + entry("a", "viewer", "1") + entry("b", "viewer", "1"), "stands twice"),
        ("tokens:\n" + entry("a b", "viewer", "1"), ":2: tokens.0.name: "),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "tokens.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"tokens\.yaml") as raised:
        Tokens(file)
    assert words in str(raised.value)
