"""A clock that a process believes in and that can be set while it runs: libfaketime, driven by a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from drills.stack.process import TOOLS

LIBRARY: Final = "libfaketimeMT.so.1"
SEEN_WITHIN: Final = 1
"""Seconds after which every thread reads the file again."""


class Clock:
    """The wall clock of the processes that get `environment`. Their monotonic one goes on, as where a host's is set."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._library = TOOLS / LIBRARY
        self.set(0.0)

    @property
    def settable(self) -> bool:
        """Whether libfaketime is here."""
        return self._library.exists()

    @property
    def environment(self) -> Mapping[str, str]:
        if not self.settable:
            return {}
        return {
            "LD_PRELOAD": str(self._library.resolve()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(SEEN_WITHIN),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }

    def set(self, seconds: float) -> None:
        """Ahead of the host's clock by so much, or behind it."""
        fresh = self._file.with_name(f"{self._file.name}.new")
        fresh.write_text(f"{seconds:+f}\n")
        fresh.chmod(0o644)
        fresh.replace(self._file)
