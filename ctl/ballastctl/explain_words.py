"""What the remediator would do about an alert, as a colleague would say it."""

from collections.abc import Iterator
from typing import Final

import click

from ballastctl.words import approvers, clean, count, shown, verdict, wrapped
from kube_ballast.clients.remediator_types import Explanation, GuardAnswer, Plan

_WOULD: Final = {
    "queued": ("would run now, without asking", "cyan"),
    "awaiting_approval": ("would wait for a person", "yellow"),
    "shadowed": ("would only write down what it would have done", "cyan"),
    "suppressed": ("would do nothing", "red"),
    "cancelled": ("would do nothing, because there is nothing to do", "green"),
}
_ORDER: Final = {"refuse": 0, "ask": 1, "allow": 2}


def explanation(one: Explanation, *, offline: bool, columns: int | None) -> Iterator[str]:
    """The answer first, then why; ``columns`` None wraps nothing."""
    words, colour = _WOULD.get(one.state or "", ("nothing would happen", None))
    who = f"{one.runbook} on {one.target} in {one.cluster}" if one.target is not None else one.alert or "this alert"
    verb = f"{who}: {words}" if one.target is None else f"{who} {words}."
    yield from wrapped(click.style(clean(verb), fg=colour, bold=True), columns)
    yield from wrapped(f"{_sentence(one)}", columns, indent=2)
    if one.open_run is not None:
        yield from wrapped(
            f"Run {one.open_run.id} on this target is open ({one.open_run.state}): the alert is counted there, and "
            "no other run is opened.",
            columns,
            indent=2,
        )
    yield from _why(one, columns)
    yield from _guards(one, columns)
    if one.plan is not None:
        yield from _plan(one.plan, columns)
    yield ""
    yield from wrapped(_footing(offline=offline), columns)


def _sentence(one: Explanation) -> str:
    said = clean(one.words)
    said = said[:1].upper() + said[1:] if "_" not in said.split(":")[0] else said
    return f"{said}. That may pass by itself: it is looked at again for two minutes." if one.passing else f"{said}."


def _why(one: Explanation, columns: int | None) -> Iterator[str]:
    if one.state is None:
        return
    yield ""
    rule = one.rule
    if rule is None and not one.mismatches:
        return
    yield click.style("Why", bold=True)
    if rule is not None:
        where = " and ".join(f"{name} is {value}" for name, value in rule.match.items()) or "any alert of this runbook"
        yield from wrapped(
            f"Rule {rule.number} of the policy decides ({clean(where)}): mode {rule.mode}.", columns, indent=2
        )
        if rule.approvals_needed is not None and one.state == "awaiting_approval":
            needed = rule.approvals_needed
            people = "One person has" if needed == 1 else f"{count(needed).capitalize()} different people have"
            yield from wrapped(f"{people} to approve: {approvers(rule.approvers)}.", columns, indent=2)
    for words in one.mismatches:
        yield from wrapped(f"{clean(words)}.", columns, indent=2)
    for words in one.beforehand:
        yield from wrapped(f"The pre-approval {clean(words)}.", columns, indent=2)
    yield f"  The policy's digest is {one.policy_digest[:12]}."


def _guards(one: Explanation, columns: int | None) -> Iterator[str]:
    if not one.answers:
        return
    yield ""
    counts = {kind: sum(answer.verdict == kind for answer in one.answers) for kind in _ORDER}
    said = ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)
    yield click.style(f"Guards ({said})", bold=True)
    for answer in sorted(one.answers, key=lambda answer: _ORDER.get(answer.verdict, 0)):
        yield from _guard(answer, columns)
    if one.plan is None:
        yield "  The others are asked once there is a plan."


def _guard(answer: GuardAnswer, columns: int | None) -> Iterator[str]:
    yield from wrapped(f"{verdict(answer.verdict)} {answer.guard}: {clean(answer.reason)}", columns, indent=2, hang=6)


def _plan(plan: Plan, columns: int | None) -> Iterator[str]:
    yield ""
    yield from wrapped(click.style(f"Plan: {clean(plan.summary)}", bold=True), columns)
    for words in plan.because:
        yield from wrapped(f"- {clean(words)}", columns, indent=2, hang=4)
    width = len(str(len(plan.steps)))
    for step in plan.steps:
        before = 2 + width - len(str(step.ordinal))
        yield from wrapped(f"{step.ordinal}. {clean(step.words)}", columns, indent=before, hang=4 + width)
    limits = [f"{clean(name)} {shown(value)}" for name, value in plan.limits.items()]
    limits += [f"{clean(name)} at least {shown(value)}" for name, value in plan.floors.items()]
    if limits:
        yield from wrapped(f"within these limits: {', '.join(limits)}", columns, indent=2)


def _footing(*, offline: bool) -> str:
    if offline:
        return (
            "Judged offline, by what was seen when it was recorded, which counts as fresh, and as if nothing had ever "
            "run: stops, budgets, rests, locks and pre-approvals of the real remediator are not in it; windows and "
            "freezes are those of now."
        )
    return "Nothing was done, and no run was opened."
