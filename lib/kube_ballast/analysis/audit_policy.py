"""What an audit policy lacks for every request to send one event, and the policy with just that added. Pure.

Source: kubernetes, staging/src/k8s.io/apiserver/pkg/audit/policy/checker.go: the first rule that matches a request says
its level, and its stages besides the policy's own; a request that no rule matches is not audited.
"""

from collections.abc import MutableMapping
from typing import Any, Final

from kube_ballast.clients.audit import VERSION

LEVELS: Final = ("None", "Metadata", "Request", "RequestResponse")
_ENDS: Final = ("ResponseComplete", "Panic")
_OTHER_STAGES: Final = ("RequestReceived", "ResponseStarted")
_CONDITIONS: Final = ("users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs")


class NoPolicy(ValueError):
    """The document is no audit policy; the text says why."""


def merge(policy: object) -> tuple[str, ...]:
    """Add to ``policy``, in place, what is missing; in words what that was, nothing when it lacked nothing.

    What is audited already keeps its level and its stages: a log that is written by the same policy loses nothing, and
    grows by one line of level Metadata for each request that was not in it. Raises NoPolicy.
    """
    rules = _rules(policy)
    assert isinstance(policy, MutableMapping)
    done = _keep_ends(policy, "the policy")
    for number, rule in enumerate(rules, 1):
        if rule["level"] == "None":
            rule["level"] = "Metadata"
            rule["omitStages"] = list(_OTHER_STAGES)
            done.append(f"rule {number} dropped its requests: their end is told now, at level Metadata")
        else:
            done += _keep_ends(rule, f"rule {number}")
        if not any(rule.get(condition) for condition in _CONDITIONS):
            return tuple(done)  # it matches everything: rules after it are never asked
    rules.append({"level": "Metadata", "omitStages": list(_OTHER_STAGES)})
    return (*done, "no rule matched the rest: a last one tells their end, at level Metadata")


def _rules(policy: object) -> list[Any]:
    if not isinstance(policy, MutableMapping):
        raise NoPolicy("it is no mapping")
    if (policy.get("apiVersion"), policy.get("kind")) != (VERSION, "Policy"):
        found = f"{policy.get('apiVersion')} {policy.get('kind')}"
        raise NoPolicy(f"it is {found}; what is understood is {VERSION} Policy")
    rules = policy.get("rules")
    if not isinstance(rules, list) or not rules:
        raise NoPolicy("it has no rules")
    for number, rule in enumerate(rules, 1):
        if not isinstance(rule, MutableMapping) or rule.get("level") not in LEVELS:
            raise NoPolicy(f"rule {number} needs a level, one of: {', '.join(LEVELS)}")
    return rules


def _keep_ends(part: MutableMapping[str, Any], name: str) -> list[str]:
    omitted = part.get("omitStages") or []
    lost = [stage for stage in omitted if stage in _ENDS]
    for stage in lost:
        omitted.remove(stage)
    if lost and not omitted:
        del part["omitStages"]
    return [f"{name} omitted the stage {' and '.join(lost)}: it is told now"] if lost else []
