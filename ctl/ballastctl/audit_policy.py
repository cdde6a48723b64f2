"""``ballastctl audit-policy``: makes an apiserver's audit policy tell of every request; it needs no remediator."""

import difflib
import io
import re
from pathlib import Path

import click
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ballastctl.exits import EXIT_MISTAKEN, fail
from ballastctl.words import clean
from kube_ballast.analysis.audit_policy import NoPolicy, merge


@click.group("audit-policy")
def audit_policy() -> None:
    """Makes an apiserver's audit policy tell who asks for what (docs/apiserver-clients.md)."""


@audit_policy.command("merge")
@click.argument("file", metavar="POLICY", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the merged policy to this file.")
def merge_(file: Path, output: Path | None) -> None:
    """Adds to an audit POLICY what the collector apiserver_clients needs, and shows the difference.

    That is one event of level Metadata at the end of each request. What is audited already stays as it is. An apiserver
    has one policy: a log that it writes grows by what is added.

    Exit codes: 0 done, or nothing is missing; 2 the file is no audit policy, or one of the files cannot be used.
    """
    try:
        text = file.read_text(encoding="utf-8")
        merged, done = _merged(text)
        if output is not None:
            output.write_text(merged, encoding="utf-8")
    except (OSError, UnicodeDecodeError, YAMLError, NoPolicy) as error:
        fail(f"{file}: {error}", EXIT_MISTAKEN)
    if not done:
        click.echo(f"{file}: nothing is missing")
        return
    difference = difflib.unified_diff(text.splitlines(), merged.splitlines(), str(file), "merged", lineterm="")
    for line in difference:
        click.secho(clean(line), fg={"+": "green", "-": "red"}.get(line[0]))
    for words in done:
        click.echo(words, err=True)


def _merged(text: str) -> tuple[str, tuple[str, ...]]:
    """With the comments, quotes and indentation of the original; just that when nothing is missing."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    if re.search(r"^ +- level:|^rules: *\n +- ", text, re.MULTILINE):
        yaml.indent(mapping=2, sequence=4, offset=2)
    policy = yaml.load(text)
    done = merge(policy)
    written = io.StringIO()
    yaml.dump(policy, written)
    return (written.getvalue() if done else text), done
