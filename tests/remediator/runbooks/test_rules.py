"""Each rule notices what it is there for: a runbook that keeps all of them, spoilt in one place at a time."""

import sys
from pathlib import Path

import pytest

from ballast_remediator.runbooks import etcd_defrag, lock
from ballast_remediator.runbooks.checking import check

SOURCE = '''
"""Waters plants."""
from dataclasses import dataclass

from ballast_remediator.contract import Done, NothingToDo, Permissions, Plan, Reversibility, StepSpec
from ballast_remediator.guards.no_corruption import no_corruption
import watering


@dataclass(frozen=True)
class World:
    dry: bool
    valid_until: float
    population: int


class WaterPlants:
    name = "water-plants"
    target_label = "pot"
    sources = (watering,)
    permissions = Permissions(hosts=("water",))
    reversibility = Reversibility.IRREVERSIBLE
    undo = "What is watered stays wet; it dries by itself."
    locks = ("tap",)

    def __init__(self):
        self.guards = (no_corruption,)
        self.steps = {"water": watering.Water()}

    @classmethod
    def configured(cls, connections, config):
        return cls()

    def knows(self, target):
        return True

    def observe(self, alert, target) -> World:
        return World(True, 0.0, 1)

    def plan(self, world):
        return Plan("water it", (), (StepSpec("water", "pot", "water it"),), {}, disturbs=("pot",))

    def verify(self, context):
        return Done("wet")
'''
STEPS = """
class Water:
    def observe(self, spec, context): ...
    def act(self, spec, context): ...
"""
PAGE = "# water-plants\n\nStep `water`, guard `no_corruption`.\n"
TUPLE = "APPROVED in remediator/ballast_remediator/runbooks/__init__.py"
NOT_APPROVED = f"it is not approved: after a review, add WaterPlants to {TUPLE}"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree with everything that a runbook has beside its source."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    for stem in ("water_plants", "watering"):
        monkeypatch.delitem(sys.modules, stem, raising=False)
    for name, text in {
        "runbooks/watering.py": STEPS,
        "docs/runbooks/water-plants.md": PAGE,
        "alerts/plants.yaml": "labels:\n  ballast_runbook: water-plants\n",
        "tests/runbooks/test_water_plants.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def judged(tree: Path, source: str = SOURCE) -> list[str]:
    """What is said of that source, but that it is not approved."""
    file = tree / "runbooks" / "water_plants.py"
    file.write_text(source)
    said = list(check(file))
    sys.modules.pop("watering", None)
    assert NOT_APPROVED in said
    return [words for words in said if words != NOT_APPROVED]


def test_one_that_keeps_every_rule(tree: Path) -> None:
    assert judged(tree) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"water-plants"', '"WaterPlants"', "it has no name that reads as what it does to what"),
        ('"water-plants"', '"plants"', "it has no name that reads as what it does to what"),
        ('"water-plants"', '"etcd-defrag"', "is called etcd-defrag too: call this one otherwise"),
        ('target_label = "pot"', "", "it has no target_label"),
        ('target_label = "pot"', 'target_label = "a pot"', "it has no target_label"),
        ("permissions = Permissions(", "rights = Permissions(", "it has no permissions: write permissions = "),
        ('hosts=("water",)', "", "its permissions are empty"),
        ('hosts=("water",)', 'hosts=("water")', "its permissions hold a text where a tuple belongs"),
        ("Reversibility.IRREVERSIBLE", '"no"', "reversibility = one of Reversibility.REVERSIBLE, "),
        ('undo = "What', 'redo = "What', "it does not say how its effect is taken back"),
        ('locks = ("tap",)', 'locks = ("tap")', "it names no locks: write locks = (CONTROL_PLANE,)"),
        ("(no_corruption,)", "()", "it has no guards"),
        (") -> World:", "):", "has no valid_until: say until when it may be acted on"),
        ("population: int", "people: int", "has no population: say of how many targets"),
        ("def observe(self, alert, target)", "def look(self, alert, target)", "it has no observe(alert, target)"),
        ("def knows(self, target)", "def has(self, target)", "it has no knows(target): say there whether"),
        ("def plan(self, world)", "def plan(self)", "it has no plan(world): decide there"),
        ("def verify(self, context)", "def check(self, context)", "it has no verify(context): look there at the world"),
        ('{"water": watering.Water()}', "{}", "it has no steps: give a mapping"),
        ('{"water": watering.Water()}', "{}", "it plans water, and its steps have none of that kind"),
        (
            '"water": watering.Water()',
            '"water": watering.Water(), "feed": watering.Water()',
            "nobody plans its step feed",
        ),
        ('"water": watering.Water()', '"water": object()', "its step water has no observe(spec, context)"),
        ('"water": watering.Water()', '"water": object()', "its step water has no act(spec, context): do it there"),
        ('StepSpec("water"', 'StepSpec("wat" + "er"', "plans a step of a kind that cannot be read"),
        (', disturbs=("pot",)', "", "does not say which failure domains it disturbs: give disturbs=(…)"),
        ("(watering,)", "()", "its digest does not cover watering: add that module to sources"),
        ("(watering,)", "watering", "it has no sources: write the tuple of the modules that hold its steps"),
        ("def configured", "def made", "it has no classmethod configured(connections, config)"),
        ("return cls()", "return config.runbooks.water_plants", "configured() fails: AttributeError("),
    ],
)
def test_a_part_that_is_missing(tree: Path, old: str, new: str, words: str) -> None:
    assert old in SOURCE
    assert [said for said in judged(tree, SOURCE.replace(old, new)) if words in said]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("docs/runbooks/water-plants.md", "it has no page: write docs/runbooks/water-plants.md"),
        ("alerts/plants.yaml", "no alert asks for it: write one with the label ballast_runbook: water-plants"),
        ("tests/runbooks/test_water_plants.py", "it has no test: write tests/remediator/runbooks/test_water_plants.py"),
    ],
)
def test_what_has_to_lie_beside_it(tree: Path, name: str, words: str) -> None:
    (tree / name).unlink()
    [said] = judged(tree)
    assert said.startswith(words)


def test_a_page_that_leaves_something_out(tree: Path) -> None:
    (tree / "docs/runbooks/water-plants.md").write_text("# water-plants\n")
    guard = "from ballast_remediator.guards.stall_fits import stall_fits\n"
    (tree / "runbooks/watering.py").write_text(f"{guard}{STEPS}")
    source = SOURCE.replace("Permissions(", 'Permissions(etcd=("kv: range",), kubernetes=("get /pots",), ')
    page = "docs/runbooks/water-plants.md does not"
    assert judged(tree, source) == [
        f"{page} name its guard `no_corruption`",
        f"{page} name its guard `stall_fits`",
        f"{page} name its step `water`",
        f"{page} repeat its permission 'kv: range'",
        f"{page} repeat its permission 'get /pots'",
    ]


def test_a_module_that_its_steps_lead_to(tree: Path) -> None:
    (tree / "runbooks/cans.py").write_text("LITRES = 3\n")
    (tree / "runbooks/watering.py").write_text(f"import cans\n{STEPS}")
    assert judged(tree) == ["its digest does not cover cans: add that module to sources"]


def test_a_file_in_no_tree(tmp_path: Path, tree: Path) -> None:
    alone = tmp_path / "elsewhere"
    (tree / "runbooks").rename(alone)
    for folder in ("docs/runbooks", "docs"):
        for file in (tree / folder).glob("*.md"):
            file.unlink()
        (tree / folder).rmdir()
    (alone / "water_plants.py").write_text(SOURCE)
    said = check(alone / "water_plants.py")
    assert [words.partition(":")[0] for words in said] == [
        "no alert asks for it",
        "it has no test",
        "it has no page",
        "it is not approved",
    ]


def test_a_source_that_nobody_reviewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runbooks.lock").write_text("0000  etcd-defrag\n")
    monkeypatch.setattr(lock, "LOCK", tmp_path / "runbooks.lock")
    assert check(Path(etcd_defrag.__file__)) == [
        "its source is not the one that was reviewed (runbooks.lock): review it, then `make approve-runbooks`"
    ]
