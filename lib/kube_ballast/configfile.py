"""Reads YAML configuration and says for each mistake where it stands and why it is one."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import structlog
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

_log = structlog.get_logger("kube_ballast.configfile")


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: ``line`` counts from 1, None where the file as a whole is meant."""

    file: Path
    line: int | None
    reason: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line is not None else str(self.file)
        return f"{where}: {self.reason}"


class ConfigError(Exception):
    """A configuration that cannot be used; its text names every mistake, one a line."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def load(path: Path, model: type[M]) -> M:
    """The file at ``path`` as ``model``. Relative paths in it are taken from the working directory.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or does not fit the model.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError((Problem(path, None, f"cannot be read: {reason}"),)) from error
    yaml = YAML(typ="safe", pure=True)
    try:
        tree = yaml.compose(text)
        content = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        raise ConfigError((Problem(path, line, f"is no valid YAML: {error.problem or error.context}"),)) from error
    except (YAMLError, ValueError, RecursionError) as error:
        # A value that its own type does not take, such as 2026-13-45, comes without a line.
        raise ConfigError((Problem(path, None, f"is no valid YAML: {error}"),)) from error
    if tree is None:
        raise ConfigError((Problem(path, None, "is empty"),))
    try:
        return model.model_validate(content)
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        problems = tuple(
            Problem(path, _line(tree, item["loc"]), _reason(item))
            for item in mistakes
            if not _follows_from_another(item, mistakes)
        )
        raise ConfigError(problems) from error


class Reloaded(Generic[T]):
    """What the file at ``path`` says now. Thread safe.

    A change takes effect the next time that it is asked for. A file that cannot be used leaves the last good one in
    force, is logged, and shows in ``problem``.
    """

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        """Raises whatever ``read`` raises: at the start there is no last good one."""
        self._path = path
        self._read = read
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._current = read(path)
        self._problem: str | None = None

    def current(self) -> T:
        """The last good one."""
        self._renew()
        return self._current

    @property
    def problem(self) -> str | None:
        """Why the file as it is now is not in force; None while it is."""
        self._renew()
        return self._problem

    def _look(self) -> tuple[int, int, int] | None:
        try:
            state = self._path.stat()
        except OSError:
            return None
        return state.st_mtime_ns, state.st_size, state.st_ino

    def _renew(self) -> None:
        if self._look() == self._stamp:
            return
        with self._lock:
            now = self._look()  # before the file is read: what changes meanwhile is seen the next time
            if now == self._stamp:
                return
            try:
                self._current = self._read(self._path)
            except ConfigError as error:
                self._problem = str(error)
                _log.error("the file cannot be used, the last good one stays in force", reason=str(error))
            else:
                self._problem = None
                _log.info("the file was read anew", file=str(self._path))
            self._stamp = now  # last: whoever comes meanwhile waits for what the file says now


def line_of(path: Path, location: tuple[int | str, ...]) -> int:
    """The line, from 1, of what a file that was loaded has at ``location``, or of the deepest part of it that is there.

    Raises:
        OSError, YAMLError: the file is another one by now.
    """
    return _line(YAML(typ="safe", pure=True).compose(path.read_text(encoding="utf-8")), location)


def _line(tree: Node, location: tuple[int | str, ...]) -> int:
    """The line of the deepest part of ``location`` that stands in the file."""
    node = tree
    line = node.start_mark.line
    for part in location:
        if isinstance(node, MappingNode):
            for key, value in node.value:
                if isinstance(key, ScalarNode) and key.value == str(part):
                    line, node = key.start_mark.line, value
                    break
            else:
                break
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        else:
            break
    return int(line) + 1


def _follows_from_another(item: ErrorDetails, mistakes: list[ErrorDetails]) -> bool:
    """Whether a list is found too short only because an entry of it is wrong, which is reported already."""
    place = item["loc"]
    return item["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in mistakes
    )


def _reason(item: ErrorDetails) -> str:
    field = ".".join(map(str, item["loc"]))
    match item["type"]:
        case "extra_forbidden":
            text = "unknown key"
        case "missing":
            text = "is required and missing"
        case "path_not_file":
            text = f"there is no file {item['input']}"
        case "tuple_type" | "list_type":
            text = "should be a list"
        case "model_type" | "dict_type" | "model_attributes_type":
            text = "should be a mapping of keys to values"
        case "too_short":
            text = f"needs at least {item['ctx']['min_length']}, has {item['ctx']['actual_length']}"
        case _:
            text = item["msg"].removeprefix("Value error, ")
    return f"{field}: {text}" if field else text
