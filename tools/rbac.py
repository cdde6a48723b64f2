"""Builds what grants rights, from what collectors and runbooks say they need: RBAC, and a sudoers file.

python -m tools.rbac [--check]
"""

import argparse
import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from ballast_exporter.collectors import COLLECTORS
from ballast_exporter.contract import KubernetesRule
from ballast_remediator.runbooks import APPROVED

DEPLOY: Final = Path(__file__).resolve().parent.parent / "deploy"
EXPORTER: Final = DEPLOY / "kubernetes" / "rbac.yaml"
REMEDIATOR: Final = DEPLOY / "kubernetes" / "rbac-remediator.yaml"
SUDOERS: Final = DEPLOY / "hosts" / "ballast.sudoers"
HEADER: Final = """\
# Generated from what the collectors ask for by `make generate`: edit there, not here.
# One role for each collector, so that whoever does not run one leaves its objects out.
"""
OF_RUNBOOKS: Final = """\
# Generated from what the runbooks ask for by `make generate`: edit there, not here.
# For those that cure apiservers, and for Nodes as the inventory of their hosts; etcd's runbooks ask Kubernetes nothing.
"""
SUDO: Final = """\
# Generated from what the runbooks ask for by `make generate`: edit there, not here.
# On hosts of the control plane, as /etc/sudoers.d/ballast, mode 0440; docs/hosts.md says what it means to grant it.
"""
SUDO_RULES: Final = """\
# Ansible starts `/bin/sh -c ...` through sudo: less than this does not work, and this is root.
ballast ALL=(root) NOPASSWD: /bin/sh
Defaults:ballast !requiretty
"""
NAMESPACE: Final = "monitoring"
ACCOUNT: Final = "ballast-exporter"
ACTOR: Final = "ballast-remediator"
_THERE: Final = {None, "default"}
"""Namespaces that need not be made."""
_API: Final = "rbac.authorization.k8s.io"


def files() -> Mapping[Path, str]:
    """Each file with its content."""
    return {
        EXPORTER: HEADER + _yaml(_of_collectors()),
        REMEDIATOR: OF_RUNBOOKS + _yaml(_of_runbooks()),
        SUDOERS: SUDO + "".join(f"#   {line}\n" for line in _on_hosts()) + SUDO_RULES,
    }


def _yaml(objects: Iterable[Mapping[str, Any]]) -> str:
    writer = YAML()
    writer.width = 4096
    writer.indent(mapping=2, sequence=4, offset=2)
    written = io.StringIO()
    writer.dump_all(list(objects), written)
    return written.getvalue()


def _of_runbooks() -> Iterator[Mapping[str, Any]]:
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACTOR, "namespace": NAMESPACE}}
    wanted = sorted({permission for kind in APPROVED for permission in kind.permissions.kubernetes})
    rules = [KubernetesRule(("get",), urls=tuple(each.removeprefix("get ") for each in wanted))]
    yield from _allowed(f"{ACTOR}-apiservers", None, rules, account=ACTOR)
    yield from _allowed(f"{ACTOR}-nodes", None, [KubernetesRule(("list",), ("nodes",))], account=ACTOR)


def _on_hosts() -> Iterator[str]:
    for kind in APPROVED:
        yield from (f"{kind.name}: {permission}" for permission in kind.permissions.hosts)


def _of_collectors() -> Iterator[Mapping[str, Any]]:
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": NAMESPACE}}
    for collector in COLLECTORS:
        name = f"{ACCOUNT}-{collector.name.replace('_', '-')}"
        for namespace in sorted({rule.namespace for rule in collector.rules} - _THERE, key=str):
            yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        for namespace in sorted({rule.namespace for rule in collector.rules}, key=str):
            yield from _allowed(name, namespace, [rule for rule in collector.rules if rule.namespace == namespace])


def _allowed(
    name: str, namespace: str | None, rules: Sequence[KubernetesRule], *, account: str = ACCOUNT
) -> Iterator[Mapping[str, Any]]:
    """A role and its binding; in the whole cluster where there is no ``namespace``."""
    kind = "ClusterRole" if namespace is None else "Role"
    metadata = {"name": name} | ({} if namespace is None else {"namespace": namespace})
    yield {"apiVersion": f"{_API}/v1", "kind": kind, "metadata": metadata, "rules": [_rule(rule) for rule in rules]}
    yield {
        "apiVersion": f"{_API}/v1",
        "kind": f"{kind}Binding",
        "metadata": dict(metadata),
        "roleRef": {"apiGroup": _API, "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}],
    }


def _rule(rule: KubernetesRule) -> Mapping[str, Any]:
    if rule.urls:
        return {"nonResourceURLs": list(rule.urls), "verbs": list(rule.verbs)}
    named = {"resourceNames": list(rule.names)} if rule.names else {}
    return {"apiGroups": [rule.group], "resources": list(rule.resources), **named, "verbs": list(rule.verbs)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 1 when a file is not what collectors and runbooks ask for."""
    parser = argparse.ArgumentParser(prog="python -m tools.rbac", description="Build what grants rights.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    options = parser.parse_args(arguments)
    stale = [file for file, text in files().items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    if not options.check:
        for file in stale:
            file.parent.mkdir(exist_ok=True)
            file.write_text(files()[file], encoding="utf-8")
        return 0
    for file in stale:
        print(f"{file.name} differs from what is asked for: run make generate", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
