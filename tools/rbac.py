"""Builds deploy/kubernetes/rbac.yaml from what each collector says it asks of an apiserver.

python -m tools.rbac [--check]
"""

import argparse
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from ballast_exporter.collectors import COLLECTORS
from ballast_exporter.contract import KubernetesRule

FILE: Final = Path(__file__).resolve().parent.parent / "deploy" / "kubernetes" / "rbac.yaml"
HEADER: Final = """\
# Generated from what the collectors ask for by `make generate`: edit there, not here.
# One role for each collector, so that whoever does not run one leaves its objects out.
"""
NAMESPACE: Final = "monitoring"
ACCOUNT: Final = "ballast-exporter"
_THERE: Final = {None, "default"}
"""Namespaces that need not be made."""
_API: Final = "rbac.authorization.k8s.io"


def text() -> str:
    """The file's content."""
    writer = YAML()
    writer.width = 4096
    writer.indent(mapping=2, sequence=4, offset=2)
    written = io.StringIO()
    writer.dump_all(list(_objects()), written)
    return HEADER + written.getvalue()


def _objects() -> Iterator[Mapping[str, Any]]:
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": NAMESPACE}}
    for collector in COLLECTORS:
        name = f"{ACCOUNT}-{collector.name.replace('_', '-')}"
        for namespace in sorted({rule.namespace for rule in collector.rules} - _THERE, key=str):
            yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        for namespace in sorted({rule.namespace for rule in collector.rules}, key=str):
            yield from _allowed(name, namespace, [rule for rule in collector.rules if rule.namespace == namespace])


def _allowed(name: str, namespace: str | None, rules: Sequence[KubernetesRule]) -> Iterator[Mapping[str, Any]]:
    """A role and its binding; in the whole cluster where there is no ``namespace``."""
    kind = "ClusterRole" if namespace is None else "Role"
    metadata = {"name": name} | ({} if namespace is None else {"namespace": namespace})
    yield {"apiVersion": f"{_API}/v1", "kind": kind, "metadata": metadata, "rules": [_rule(rule) for rule in rules]}
    yield {
        "apiVersion": f"{_API}/v1",
        "kind": f"{kind}Binding",
        "metadata": dict(metadata),
        "roleRef": {"apiGroup": _API, "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
    }


def _rule(rule: KubernetesRule) -> Mapping[str, Any]:
    if rule.urls:
        return {"nonResourceURLs": list(rule.urls), "verbs": list(rule.verbs)}
    named = {"resourceNames": list(rule.names)} if rule.names else {}
    return {"apiGroups": [rule.group], "resources": list(rule.resources), **named, "verbs": list(rule.verbs)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 1 when the file is not what the collectors ask for."""
    parser = argparse.ArgumentParser(prog="python -m tools.rbac", description=f"Build {FILE.name}.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the file is out of date")
    options = parser.parse_args(arguments)
    if not options.check:
        FILE.write_text(text(), encoding="utf-8")
        return 0
    if FILE.exists() and FILE.read_text(encoding="utf-8") == text():
        return 0
    print(f"{FILE.name} differs from what the collectors ask for: run make generate", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
