"""The doctor's findings as a person reads them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import click

from ballast_exporter.stall_apiserver import CANARY, PING, READINESS, READS
from ballast_exporter.stall_canary import DELIVERY
from ballast_exporter.stall_members import LINEARIZABLE, SERIALIZABLE
from ballast_exporter.stall_report import Report
from ballastctl.doctor_report import Diagnosis, Patient, Shown
from ballastctl.words import clean, wrapped
from kube_ballast.analysis.stall import Answer, Verdict
from kube_ballast.analysis.words import duration

NARROWEST: Final = 60
_ROWS: Final[Mapping[str, str]] = {
    PING: "ping (asks no etcd)",
    READINESS: "its own check of etcd",
    CANARY: "write a Lease",
    DELIVERY: "news reaches watches",
    **{resource: f"read {resource}" for resource in READS},
}
_MEMBER_ROWS: Final[Mapping[str, str]] = {LINEARIZABLE: "read with a quorum", SERIALIZABLE: "read on its own"}
_MEANS: Final[Mapping[Verdict, str]] = {
    Verdict.OK: "it answers, reads, writes, and its watches get the news",
    Verdict.CHANNEL_STALLED: "it is up and etcd is well, and the connections between them are not",
    Verdict.WATCH_STALE: "it reads and writes, and its watches get no news",
    Verdict.ETCD_MEMBER_BAD: "an etcd member that it asks fails or is being defragmented",
    Verdict.ETCD_SLOW: "an etcd member that it asks answers late",
    Verdict.ETCD_DOWN: "etcd has no quorum",
    Verdict.OVERLOADED: "it turns requests away",
    Verdict.DOWN: "nobody listens at its address",
    Verdict.UNREACHABLE: "its address gives no answer",
    Verdict.UNKNOWN: "not enough is known to blame anybody",
}
_ANSWERS: Final[Mapping[Answer, str]] = {
    Answer.TIMEOUT: "HANGS",
    Answer.ERROR: "FAILS",
    Answer.REJECTED: "429",
    Answer.REFUSED: "REFUSED",
    Answer.DENIED: "DENIED",
}
_NOTHING: Final = "-"
_DEFRAGMENTS: Final[Mapping[bool | None, tuple[str, str | None]]] = {
    True: ("YES", "red"),
    False: ("no", None),
    None: (_NOTHING, None),
}
_GAP: Final = "  "
_Cells = Sequence[tuple[str, str | None]]
"""Words and their colour, a column each."""


def lines(found: Diagnosis, columns: int | None) -> Iterator[str]:
    """The whole page; ``columns`` to wrap at, None for a pipe."""
    yield from wrapped(_headline(found), columns)
    worded = True
    for patient in sorted(found.apiservers, key=lambda each: each.verdict is Verdict.OK):
        if worded or patient.reasons:
            yield ""
        worded = bool(patient.reasons)
        yield from _patient(patient, columns)
    yield from _asked(found.apiservers, columns)
    yield from _matrix(found, columns)
    if found.not_measured:
        yield from _title("Not measured")
        for missing in found.not_measured:
            yield from wrapped(clean(f"- {missing}"), columns, indent=2, hang=4)


def _headline(found: Diagnosis) -> str:
    several = f"{len(found.apiservers)} apiservers"
    if not found.apiservers:
        return click.style("no apiserver was looked at", fg="yellow", bold=True)
    if found.sick:
        names = ", ".join(clean(f"{each.name} ({each.verdict})") for each in found.sick)
        return click.style(f"{len(found.sick)} of {several} {_is(len(found.sick))} sick: {names}", fg="red", bold=True)
    if found.unknown:
        names = ", ".join(clean(each.name) for each in found.unknown)
        return click.style(f"too little is known of {len(found.unknown)} of {several}: {names}", fg="yellow", bold=True)
    return click.style(f"{several}: ok" if len(found.apiservers) > 1 else "the apiserver is ok", fg="green", bold=True)


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _patient(each: Patient, columns: int | None) -> Iterator[str]:
    colour = {Verdict.OK: "green", Verdict.UNKNOWN: "yellow"}.get(each.verdict, "red")
    head = f"{click.style(clean(each.name), bold=True)}  {click.style(each.verdict, fg=colour, bold=True)}"
    yield from wrapped(f"{head}: {_MEANS[each.verdict]}", columns, hang=2)
    for number, reason in enumerate(each.reasons):
        yield from _said("" if number else "why", reason, columns)
    if each.do is not None:
        yield from _said("do", each.do, columns, colour="cyan")


def _said(what: str, words: str, columns: int | None, colour: str | None = None) -> Iterator[str]:
    text = f"{click.style(f'{what:<3}', fg=colour, bold=True)} {clean(words)}"
    yield from wrapped(text, columns, indent=2, hang=6)


def _title(words: str) -> Iterator[str]:
    yield ""
    yield click.style(words, bold=True)


def _asked(patients: Sequence[Patient], columns: int | None) -> Iterator[str]:
    if not patients:
        return
    yield from _title("What each apiserver answered")
    rows = {words: [_cell(each.probes.get(probe)) for each in patients] for probe, words in _ROWS.items()}
    yield from _table([each.name for each in patients], rows, columns)


def _matrix(found: Diagnosis, columns: int | None) -> Iterator[str]:
    """Who asks which member, and what that one answers when it is asked directly."""
    if not found.members:
        return
    yield from _title("etcd's members, asked directly, and who asks them")
    members = found.members
    rows: dict[str, _Cells] = {
        words: [_cell(each.probes.get(probe)) for each in members] for probe, words in _MEMBER_ROWS.items()
    }
    rows["is being defragmented"] = [_DEFRAGMENTS[each.defragments] for each in members]
    for patient in found.apiservers:
        used = [("yes", None) if each.name in patient.members else (_NOTHING, None) for each in members]
        rows[f"asked by {patient.name}"] = used
    yield from _table([each.name for each in members], rows, columns)


def _table(heads: Sequence[str], rows: Mapping[str, _Cells], columns: int | None) -> Iterator[str]:
    """As many columns beside each other as there is room for, the others below."""
    first = max(map(len, rows)) + len(_GAP)
    cells = [words for row in rows.values() for words, _ in row]
    width = max(map(len, (*heads, *cells))) + len(_GAP)
    beside = len(heads) if columns is None else max(1, (columns - first) // width)
    for start in range(0, len(heads), beside):
        yield click.style(_row("", [(head, None) for head in heads[start : start + beside]], first, width), dim=True)
        for words, row in rows.items():
            yield _row(words, row[start : start + beside], first, width)


def _row(words: str, cells: _Cells, first: int, width: int) -> str:
    padded = "".join(click.style(clean(text), fg=colour) + " " * (width - len(text)) for text, colour in cells)
    return f"{_GAP}{clean(words):<{first}}{padded}".rstrip()


def _cell(shown: Shown | None) -> tuple[str, str | None]:
    if shown is None:
        return _NOTHING, None
    if shown.answer is Answer.OK and shown.seconds is not None:
        return duration(shown.seconds), None
    if shown.answer is Answer.SLOW and shown.seconds is not None:
        return f"{duration(shown.seconds)}, late", "yellow"
    times = f" x{shown.times}" if shown.times > 1 else ""
    return f"{_ANSWERS[shown.answer]}{times}", "red" if shown.times > 1 else "yellow"


def progress(report: Report, columns: int) -> Iterator[str]:
    """How things look so far, a line for each apiserver, the sick ones first."""
    for name, each in sorted(report.apiservers.items(), key=lambda item: item[1].judgement.verdict is Verdict.OK):
        told = {**each.probes, DELIVERY: each.delivery}
        failing = [probe for probe in _ROWS if (last := told[probe].last) and last.failures]
        silent = [probe for probe in _ROWS if told[probe].last is None]
        well = len(_ROWS) - len(failing) - len(silent)
        words = f"{name}  {each.judgement.verdict}: {well} well"
        words += f", failing: {', '.join(failing)}" if failing else ""
        words += f", {len(silent)} not answered yet" if silent else ""
        yield clean(words)[: columns - 1]
