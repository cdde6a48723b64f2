"""Figures beside their targets: one JSON line each, on stdout and in build/bench.jsonl."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO


class Report:
    """Collects figures. ``ok`` is None for a figure that is only shown, such as a floor."""

    def __init__(self, out: TextIO, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._out = out
        self._file = file
        self.missed: list[str] = []

    def at_most(self, name: str, value: float, unit: str, target: float) -> None:
        """A figure that may not be larger than its target."""
        self._write(name, value, unit, f"<= {target:g}", ok=value <= target)

    def at_least(self, name: str, value: float, unit: str, target: float) -> None:
        """A figure that may not be smaller than its target."""
        self._write(name, value, unit, f">= {target:g}", ok=value >= target)

    def shown(self, name: str, value: float, unit: str) -> None:
        """A figure without a target."""
        self._write(name, value, unit, None, ok=None)

    def not_known(self, name: str, unit: str, target: float, why: str) -> None:
        """A figure that may not be larger than its target and could not be measured: it counts as missed."""
        self._line(
            {"name": name, "value": None, "unit": unit, "target": f"<= {target:g}", "ok": False, "not_known": why}
        )
        self.missed.append(f"{name} (not known: {why})")

    def _write(self, name: str, value: float, unit: str, target: str | None, *, ok: bool | None) -> None:
        self._line({"name": name, "value": round(value, 6), "unit": unit, "target": target, "ok": ok})
        if ok is False:
            self.missed.append(name)

    def _line(self, figure: Mapping[str, object]) -> None:
        line = json.dumps(figure)
        print(line, file=self._out, flush=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
