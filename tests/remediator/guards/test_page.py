"""docs/guards.md says what the guards say: each of them, every answer that forbids or asks, in its very words."""

import ast
import re
from pathlib import Path

import pytest

from ballast_remediator import guards
from ballast_remediator.contract import Answer, Verdict
from ballast_remediator.engine.judging import LEDGER_GUARDS, LOCK_GUARDS
from tests.remediator.guards.words import answers

FOLDER = Path(str(guards.__file__)).parent
PAGE = Path(__file__).resolve().parents[3] / "docs" / "guards.md"
NAMES = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
ANSWERS = tuple(answers())
WAITED_FOR = {guard.__name__ for guard in LOCK_GUARDS}


def plain(words: str) -> str:
    """Numbers and line breaks may be others."""
    return re.sub(r"\d+", "0", " ".join(words.split()))


def sections() -> dict[str, str]:
    """What stands under each guard's heading, in the page's order."""
    _, *parts = re.split(r"^### `(\w+)`\n", PAGE.read_text(), flags=re.MULTILINE)
    return {name: part.partition("\n## ")[0] for name, part in zip(parts[::2], parts[1::2], strict=True)}


def then(answer: Answer) -> str:
    """What becomes of a run that has not begun."""
    if answer.verdict is Verdict.ASK:
        return "asks"
    return "waits" if answer.passing or answer.guard in WAITED_FOR else "ends"


def test_every_guard_stands_on_the_page_and_no_other() -> None:
    assert sorted(sections()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_stops_and_the_very_words(name: str) -> None:
    section = sections()[name]
    assert section.lstrip().startswith("Stops "), "first of all, what it stops"
    told = re.findall(r"^- \*(\w+)\*: (.*?)(?=\n- \*|\Z)", section.rstrip(), re.MULTILINE | re.DOTALL)
    assert [(what, plain(words)) for what, words in told] == [
        (then(answer), plain(answer.reason)) for answer in ANSWERS if answer.guard == name
    ]


@pytest.mark.parametrize("name", NAMES)
def test_no_answer_of_the_guard_is_missing(name: str) -> None:
    """Each place of its source that refuses or asks is shown once."""
    calls = [
        node.func.id
        for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"refuse", "ask"}
    ]
    verdicts = [answer.verdict for answer in ANSWERS if answer.guard == name]
    assert Verdict.ALLOW not in verdicts
    assert sorted(verdicts) == sorted(map(Verdict, calls))


def test_the_order_is_that_in_which_refusals_are_told() -> None:
    of_store = [guard.__name__ for guard in (*LEDGER_GUARDS, *LOCK_GUARDS)]
    assert [name for name in sections() if name in of_store] == of_store
