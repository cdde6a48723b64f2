"""Prometheus' and Alertmanager's own programs, which judge what was generated."""

import subprocess

from tests.mixin.generated import ROOT

BIN = ROOT / ".tools" / "bin"
TIMEOUT = 300.0
"""Seconds: a test of forecasts evaluates days of rules, 20 s on an idle machine."""


def run(program: str, *arguments: str) -> None:
    """Fails with the program's own words."""
    path = BIN / program
    assert path.exists(), f"{path} is missing: run `make tools`"
    result = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
