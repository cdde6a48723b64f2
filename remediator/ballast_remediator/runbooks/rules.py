"""What every runbook has to have: a test asks it of all that are approved, `ballastctl runbook check FILE` of one.

A rule gives a sentence for each thing that is missing, with what to do about it. docs/runbooks/WRITING.md says why
each is there.
"""

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, get_type_hints

from ballast_remediator.config import RunbooksConfig
from ballast_remediator.contract import Permissions, Reversibility
from ballast_remediator.runbooks import APPROVED, lock
from ballast_remediator.runbooks.imports import imported, reachable, source

NAME: Final = re.compile(r"[a-z]+(-[a-z]+)+")
LEAST_UNDO: Final = 20
"""Characters: less is a word, and no explanation."""
PART: Final = "remediator/ballast_remediator"


@dataclass(frozen=True, slots=True)
class Book:
    """A runbook under judgement: its class, and what `configured` made of it.

    ``root`` is the folder with docs/runbooks; None where the file lies in no such tree.
    """

    kind: type[Any]
    made: Any
    file: Path
    root: Path | None

    @property
    def name(self) -> str:
        """Its name, or what stands for it."""
        return str(getattr(self.kind, "name", "NAME"))

    @property
    def sources(self) -> tuple[ModuleType, ...]:
        """Those of its ``sources`` that are modules."""
        given = getattr(self.kind, "sources", ())
        return tuple(each for each in given if isinstance(each, ModuleType)) if isinstance(given, tuple) else ()

    @property
    def steps(self) -> Mapping[str, Any]:
        """Its steps, if they are what they should be."""
        given = getattr(self.made, "steps", None)
        return given if isinstance(given, Mapping) else {}


Rule = Callable[[Book], Iterator[str]]


def named_after_what_it_does(book: Book) -> Iterator[str]:
    """Kebab-case, verb and noun, and nobody else's."""
    if not NAME.fullmatch(book.name) or not isinstance(getattr(book.kind, "name", None), str):
        yield 'it has no name that reads as what it does to what: write for example name = "etcd-defrag"'
    for other in APPROVED:
        if other.name == book.name and _file(other) != book.file:
            yield f"{_file(other)} is called {book.name} too: call this one otherwise"


def target_is_named_by_a_label(book: Book) -> Iterator[str]:
    """At most one run is open per target."""
    label = getattr(book.kind, "target_label", None)
    if not isinstance(label, str) or not re.fullmatch(r"[a-zA-Z_]\w*", label):
        yield "it has no target_label: name the alert's label that says what it acts on, such as etcd_cluster"


def permissions_are_listed(book: Book) -> Iterator[str]:
    """Who installs it has to grant them, and its page repeats them."""
    given = getattr(book.kind, "permissions", None)
    if not isinstance(given, Permissions):
        yield "it has no permissions: write permissions = Permissions(etcd=(…), prometheus=(…), …)"
        return
    groups = (given.etcd, given.prometheus, given.kubernetes, given.hosts)
    if not any(groups):
        yield "its permissions are empty: something it reads or changes asks for one; name each"
    if any(isinstance(group, str) for group in groups):
        yield 'its permissions hold a text where a tuple belongs: write ("query",), with the comma'


def reversibility_is_stated(book: Book) -> Iterator[str]:
    """It decides how many people it takes, and whether it may ever run by itself."""
    if not isinstance(getattr(book.kind, "reversibility", None), Reversibility):
        values = ", ".join(f"Reversibility.{each.name}" for each in Reversibility)
        yield f"it does not say what it costs to take its effect back: reversibility = one of {values}"


def undo_is_told(book: Book) -> Iterator[str]:
    """In words, for whoever wants the effect gone at night."""
    undo = getattr(book.kind, "undo", None)
    if not isinstance(undo, str) or len(undo) < LEAST_UNDO:
        yield "it does not say how its effect is taken back, or why it cannot be: write it into undo, in a sentence"


def locks_are_named(book: Book) -> Iterator[str]:
    """What disturbs the control plane holds its one lock."""
    locks = getattr(book.kind, "locks", None)
    if not isinstance(locks, tuple) or not locks:
        yield (
            "it names no locks: write locks = (CONTROL_PLANE,) if it disturbs etcd or an apiserver, else the name of "
            "what only one run of a cluster may disturb at a time"
        )


def guards_are_asked(book: Book) -> Iterator[str]:
    """Of what was just seen, before a plan, and again at the claim."""
    given = getattr(book.made, "guards", None)
    if not isinstance(given, tuple) or not given or not all(map(callable, given)):
        yield "it has no guards: give a tuple of functions from its world to an Answer (ballast_remediator/guards)"


def world_has_an_age_and_a_size(book: Book) -> Iterator[str]:
    """Old evidence is not acted on, and a budget in percent is a share of something."""
    observe = getattr(book.kind, "observe", None)
    if not callable(observe):
        yield "it has no observe(alert, target): look at the world there, and give what was seen"
        return
    world = _returned(observe)
    for field, words in (("valid_until", "until when it may be acted on"), ("population", "of how many targets")):
        if world is None or not (hasattr(world, field) or field in getattr(world, "__annotations__", {})):
            yield f"what observe gives (its return annotation) has no {field}: say {words}"


def methods_are_there(book: Book) -> Iterator[str]:
    """As `contract.Runbook` wants them."""
    for name, arguments, words in (
        ("knows", ("target",), "say there whether the configuration has that target"),
        ("plan", ("world",), "decide there, from the world alone, what to do"),
        ("verify", ("context",), "look there at the world, not at the alert, and raise StepFailed"),
    ):
        method = getattr(book.kind, name, None)
        if not _takes(method, len(arguments) + 1):
            yield f"it has no {name}({', '.join(arguments)}): {words}"


def steps_look_and_act(book: Book) -> Iterator[str]:
    """A crash at any point is answered by looking first."""
    if not book.steps:
        yield "it has no steps: give a mapping from each kind of its plan to an object with observe and act"
    for kind, step in book.steps.items():
        for method, words in (
            ("observe", "say there whether the world shows it as done, not done or unknown"),
            ("act", "do it there; it may be called again after a crash at any point of it"),
        ):
            if not _takes(getattr(step, method, None), 2):
                yield f"its step {kind} has no {method}(spec, context): {words}"


def plan_and_steps_agree(book: Book) -> Iterator[str]:
    """Each kind that is planned can be carried out, and the reverse."""
    planned: set[str] = set()
    for call in _calls(book, "StepSpec"):
        kind = next((k.value for k in call.keywords if k.arg == "kind"), call.args[0] if call.args else None)
        if isinstance(kind, ast.Constant) and isinstance(kind.value, str):
            planned.add(kind.value)
        else:
            yield f'line {call.lineno} plans a step of a kind that cannot be read: write StepSpec("defragment", …)'
    yield from (
        f"it plans {kind}, and its steps have none of that kind: write it" for kind in sorted(planned - set(book.steps))
    )
    yield from (f"nobody plans its step {kind}: plan it or take it out" for kind in sorted(set(book.steps) - planned))


def plan_names_what_it_disturbs(book: Book) -> Iterator[str]:
    """Else two runs may disturb one failure domain at once."""
    for call in _calls(book, "Plan"):
        if not any(keyword.arg == "disturbs" for keyword in call.keywords):
            yield f"the plan in line {call.lineno} does not say which failure domains it disturbs: give disturbs=(…)"


def sources_cover_the_steps(book: Book) -> Iterator[str]:
    """What is not covered can change without a review."""
    if not isinstance(getattr(book.kind, "sources", None), tuple):
        yield "it has no sources: write the tuple of the modules that hold its steps, () where they are in this file"
    covered = {book.kind.__module__, *(module.__name__ for module in book.sources)}
    used = {type(step).__module__ for step in book.steps.values()}
    ours = f"{__package__}."
    reached = reachable(*covered, beside=book.file.parent)
    used |= {name for name in reached if name.startswith(ours) or "." not in name}
    yield from (f"its digest does not cover {name}: add that module to sources" for name in sorted(used - covered))


def page_tells_all(book: Book) -> Iterator[str]:
    """Somebody has to decide, and somebody is awake while it runs: both read it there."""
    path = f"docs/runbooks/{book.name}.md"
    if book.root is None or not (book.root / path).is_file():
        yield f"it has no page: write {path}, on the model of docs/runbooks/etcd-defrag.md"
        return
    page = (book.root / path).read_text(encoding="utf-8")
    files = (book.file, *(Path(str(module.__file__)) for module in book.sources))
    asked = sorted({name.rpartition(".")[2] for file in files for name in imported(file) if _is_guard(name)})
    words = {"knob": knobs(book.name), "guard": asked, "step": book.steps}
    for what, names in words.items():
        yield from (f"{path} does not name its {what} `{name}`" for name in names if f"`{name}`" not in page)
    permissions = getattr(book.kind, "permissions", None)
    if isinstance(permissions, Permissions):
        named = {permission: permission.partition(":")[2].strip() for permission in permissions.etcd}
        named |= {permission: permission for permission in (*permissions.kubernetes, *permissions.hosts)}
        for permission, repeated in named.items():
            if repeated not in page.replace("`", ""):
                yield f"{path} does not repeat its permission {permission!r}"


def alert_asks_for_it(book: Book) -> Iterator[str]:
    """Nothing else ever starts it."""
    label = f"ballast_runbook: {book.name}\n"
    if book.root is None or not any(label in file.read_text() for file in (book.root / "alerts").glob("*.yaml")):
        yield f"no alert asks for it: write one with the label {label.strip()} in mixin/alerts, then `make generate`"


def tests_are_there(book: Book) -> Iterator[str]:
    """On the real thing where there is one."""
    name = f"test_{book.file.stem}.py"
    if book.root is None or not any((book.root / "tests").rglob(name)):
        yield f"it has no test: write tests/remediator/runbooks/{name}"


def approval_is_recorded(book: Book) -> Iterator[str]:
    """The line and the digest are the approval; both want a review before."""
    if not any(_file(other) == book.file for other in APPROVED):
        yield f"it is not approved: after a review, add {book.kind.__name__} to APPROVED in {PART}/runbooks/__init__.py"
    elif lock.approved().get(book.name) != lock.digest(book.made):
        yield "its source is not the one that was reviewed (runbooks.lock): review it, then `make approve-runbooks`"


RULES: Final[tuple[Rule, ...]] = (
    named_after_what_it_does,
    alert_asks_for_it,
    target_is_named_by_a_label,
    world_has_an_age_and_a_size,
    methods_are_there,
    plan_and_steps_agree,
    plan_names_what_it_disturbs,
    guards_are_asked,
    steps_look_and_act,
    undo_is_told,
    reversibility_is_stated,
    permissions_are_listed,
    locks_are_named,
    sources_cover_the_steps,
    tests_are_there,
    page_tells_all,
    approval_is_recorded,
)
"""In the order in which a runbook is written."""


def knobs(name: str) -> tuple[str, ...]:
    """The settings that the configuration has for the runbook of that name."""
    for field in RunbooksConfig.model_fields.values():
        if field.alias == name:
            return tuple(type(field.default).model_fields)
    return ()


def _is_guard(name: str) -> bool:
    return name.startswith("ballast_remediator.guards.") and source(name) is not None


def _file(kind: type[Any]) -> Path:
    return Path(str(sys.modules[kind.__module__].__file__)).resolve()


def _calls(book: Book, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(book.file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and name in {getattr(node.func, "id", None), getattr(node.func, "attr", None)}:
            yield node


def _returned(method: Callable[..., object]) -> object:
    try:
        return get_type_hints(method).get("return")
    except (NameError, TypeError):
        return None


def _takes(method: object, arguments: int) -> bool:
    """Whether it can be called with so many positional arguments."""
    if not callable(method):
        return False
    try:
        inspect.signature(method).bind(*range(arguments))
    except TypeError:
        return False
    return True
