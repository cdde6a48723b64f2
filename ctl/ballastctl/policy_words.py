"""What a policy means, in words."""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from ballast_remediator.config import Config
from ballast_remediator.contract import Mode, Reversibility
from ballast_remediator.periods import Period
from ballast_remediator.policy import Policy, PolicyFile, Rule
from ballast_remediator.runbooks import APPROVED
from ballast_remediator.tokens import Right, TokensFile
from ballastctl.words import clean, count, listed, wrapped
from kube_ballast.analysis.words import duration


def meaning(file: Path, policy: Policy, *, columns: int | None) -> Iterator[str]:
    """The whole policy; ``columns`` None wraps nothing."""
    content = policy.content
    yield f"{file}: no mistake found; digest {policy.digest[:12]}"
    yield ""
    brake = content.brake
    yield from wrapped(
        f"Alerts for more than {brake.targets} targets within {duration(brake.window)} set the brake: nothing begins "
        "until a person has looked and lifted it.",
        columns,
    )
    for freeze in content.freezes:
        period = Period(freeze.name, freeze.schedule, freeze.lasts, freeze.time_zone or content.time_zone)
        but = f", but for {listed(freeze.excepted)}" if freeze.excepted else ""
        yield from wrapped(f"Nothing begins in the freeze {_period(period)}{but}.", columns)
    for number, rule in enumerate(content.rules, start=1):
        yield ""
        yield from _rule(number, rule, policy, columns)
    yield ""
    yield "The first rule that matches decides. Where none does, nothing runs."


def never(content: PolicyFile) -> list[str]:
    """Rules that never decide anything, because an earlier one takes all that they match."""
    notes = []
    for number, rule in enumerate(content.rules, start=1):
        for earlier, other in enumerate(content.rules[: number - 1], start=1):
            if other.runbook == rule.runbook and other.match.items() <= rule.match.items():
                notes.append(f"rule {number} never decides: rule {earlier} matches all that it does, and comes first")
                break
    return notes


def unknown(content: PolicyFile, config: Config, tokens: TokensFile) -> list[str]:
    """Clusters and people that the policy names and nobody else knows."""
    notes = []
    may = {holder.name for holder in tokens.tokens if holder.may(Right.DECIDE)}
    known = ", ".join(sorted(config.clusters))
    for number, rule in enumerate(content.rules, start=1):
        cluster = rule.match.get("cluster")
        if cluster is not None and cluster not in config.clusters:
            notes.append(f"rule {number} is for cluster {cluster!r}, which is not configured (configured: {known})")
        needed = rule.approvals_needed(_kind(rule))
        able = may if rule.approvers is None else may & set(rule.approvers)
        strangers = sorted(set(rule.approvers or ()) - may)
        if strangers:
            notes.append(f"rule {number} lets {listed(strangers)} approve, who may not: see {config.tokens_file}")
        if rule.mode is not Mode.SHADOW and len(able) < needed:
            people = "nobody" if not able else f"only {listed(sorted(able))}"
            notes.append(f"rule {number} takes {needed} to approve, and {people} can: its plans would all lapse")
    return notes


def _rule(number: int, rule: Rule, policy: Policy, columns: int | None) -> Iterator[str]:
    where = " and ".join(f"{name} is {value}" for name, value in rule.match.items()) or "any alert of it"
    yield from wrapped(click.style(f"Rule {number}: {rule.runbook}, where {clean(where)}", bold=True), columns)
    terms = policy.terms(rule)
    budget = terms.budget
    limits = [f"{budget.runs} run{'' if budget.runs == 1 else 's'}"] if budget.runs is not None else []
    limits += [f"runs on {budget.percent:g} % of the targets"] if budget.percent is not None else []
    bounds = f"At most {' and '.join(limits)} begin in a cluster within {duration(budget.window)}, and a target rests"
    lines = [
        _mode(rule),
        f"{bounds} for {duration(terms.cooldown)} after each.",
        *(f"It may begin only in the window {_period(window)}." for window in terms.windows),
        *(f"Its plan's {clean(name)} may be {most:g} at most." for name, most in terms.limits.items()),
    ]
    for line in lines:
        yield from wrapped(line, columns, indent=2)


def _mode(rule: Rule) -> str:
    needed = rule.approvals_needed(_kind(rule))
    who = "anybody with the role approver or admin" if rule.approvers is None else listed(rule.approvers, "or")
    people = "one person approves" if needed == 1 else f"{count(needed)} different people approve"
    asked = f"{people} it ({who})"
    if rule.mode is Mode.SHADOW:
        return "shadow: nothing is done; what would have been done is written down."
    if rule.mode is Mode.ASK:
        return f"ask: each plan waits until {asked}, at once or beforehand."
    return f"auto: it runs by itself, unless a guard asks for a risk to be accepted: then {asked}."


def _period(period: Period) -> str:
    zone = ZoneInfo(period.time_zone)
    now = time.time()
    ends, begins = period.ends(now), period.begins(now)
    when = f"next {datetime.fromtimestamp(begins, zone):%a %Y-%m-%d %H:%M}"
    if ends is not None:
        when = f"going on until {datetime.fromtimestamp(ends, zone):%a %Y-%m-%d %H:%M}"
    return f"{clean(period.name)} ({period.schedule!r} for {duration(period.lasts)}, {period.time_zone}; {when})"


def _kind(rule: Rule) -> Reversibility:
    return next(kind.reversibility for kind in APPROVED if kind.name == rule.runbook)
