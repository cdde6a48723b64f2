"""The story of Control-plane path: two apiservers share three etcd members, and one's channels to them stall.

Only the connections that exist are sick, as in the real world: once they are cut, new ones pass.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from drills.demo import Terminal
from drills.relay import Fault, Mode
from drills.stack import Service
from drills.stall.ground import Ground, running
from drills.stall.watch import ASK_SECONDS, EVERY_SECONDS, Account, Watcher
from kube_ballast.analysis.stall import Verdict
from kube_ballast.clients.alertmanager import Alertmanager
from kube_ballast.config import HttpConfig

CALM, STALLED, CURED = 60.0, 24.0, 60.0
"""Seconds of the story before the stall, of the stall, and after its connections were cut."""
DASHBOARD: Final = "control-plane-path"


class Draws(Protocol):
    """Draws a dashboard at moments, which are Unix seconds by name; gives the exit code."""

    def __call__(
        self, prometheus: Service, browser: Path, began: float, looks: Mapping[str, float], *, dashboard: str
    ) -> int: ...


def play(draw: Draws, browser: Path, terminal: Terminal) -> int:
    """All is well, it stalls, and it is well again; tells when verdict and page came, and what the page says."""
    terminal.line("two apiservers on three etcd members; the channels of the first stall, about three minutes ...")
    with running(local=False) as ground:
        watcher, began = Watcher(ground), time.time()
        watcher.until_well()
        time.sleep(CALM)
        looks = {"well": time.time()}
        ground.set(Fault(Mode.MUTE, only_old=True))
        account = _look(ground, watcher, STALLED, terminal.tell)
        looks["stalled"] = time.time()
        for page in Alertmanager(HttpConfig(url=ground.alertmanager.url)).alerts(timeout=ASK_SECONDS):
            terminal.line(f"{page.labels['alertname']}: {page.annotations['description']}")
        ground.heal()
        time.sleep(CURED)
        looks["cured"] = time.time()
        code = draw(ground.prometheus, browser, began, looks, dashboard=DASHBOARD)
    return max(code, int(account.alert_at is None or bool(account.wrong)))


def _look(ground: Ground, watcher: Watcher, seconds: float, tell: Callable[[float, str, str], None]) -> Account:
    """For so long; says when the verdict and the page are there."""
    account, began = Account(Verdict.CHANNEL_STALLED, ground.names), time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        account.see(now, watcher.verdicts(), watcher.firing())
        time.sleep(EVERY_SECONDS)
    for at, who, what in (
        (account.verdict_at, "verdict", "channel_stalled"),
        (account.alert_at, "alert", "ApiserverChannelStalled is at Alertmanager"),
    ):
        tell(at if at is not None else seconds, who, what if at is not None else f"no {what}")
    return account
