"""The actions on hosts that there are: look, cut an apiserver's connections, restart it."""

import tempfile
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from kube_ballast.clients.hosts import inventory
from kube_ballast.clients.hosts.nodes import NodesCache
from kube_ballast.clients.hosts.restart import Restart
from kube_ballast.clients.hosts.running import Outcome, Play, Variable, run
from kube_ballast.clients.hosts.types import Process, Sight, parsed
from kube_ballast.config import HostsConfig

CUT, LOOK, RESTART = "cut-connections", "look", "restart"
LOOK_SECONDS: Final = 30.0
"""For whatever only looks, where the configured ``timeout`` is longer: that is for what acts."""
_TASK: Final = {CUT: "Cut", LOOK: "Look", RESTART: "Restart"}


@dataclass(frozen=True, slots=True)
class Apiserver:
    """Where one is looked for: ``host`` as the inventory or a Node has it, the IP:PORT it listens on, its program."""

    host: str
    listens: str
    executable: str = "kube-apiserver"


class Hosts:
    """The hosts of one cluster. Every call is one playbook, and ends within the configured ``timeout`` and 10 s.

    What only looks ends within `LOOK_SECONDS` and 10 s, if that is less.

    Each raises Unavailable (not reached: nothing was done), Timeout (no end; of what acts it is unknown what took
    effect), Denied (ssh or sudo say no), Busy (somebody acts on that apiserver there), ProcessGone (another process
    serves it, or none), Conflict (the host or the process is not as it has to be), HostFailed (it fails now),
    LocalDisk, and BadResponse.
    """

    def __init__(self, config: HostsConfig) -> None:
        self._config = config
        self._nodes = None if config.nodes is None else NodesCache(config.nodes)

    def keep(self, stop: threading.Event) -> None:
        """Keeps the Nodes on disk, where they are the inventory, until ``stop`` is set."""
        if self._nodes is not None:
            self._nodes.keep(stop)

    def at_work(self) -> Mapping[str, str]:
        """The Nodes that somebody works on, where Nodes are the inventory: by name, how it shows."""
        return {} if self._nodes is None else self._nodes.at_work()

    def look(self, apiserver: Apiserver, expected: Process | None = None) -> Process:
        """Which process it is. Conflict when nobody listens there, or it is not ``expected``."""
        variables = {**_where(apiserver), "ballast_expected": _given(expected)}
        return self._seen(apiserver, LOOK, variables, check=True).process

    def connections(self, apiserver: Apiserver) -> Sight:
        """The dry run of `cut`: what would be cut now. It tries on a connection of its own whether the host can."""
        variables = {**self._cutting(apiserver), "ballast_expected": None, "ballast_only": None}
        return self._seen(apiserver, CUT, variables, check=True)

    def cut(self, apiserver: Apiserver, expected: Process, only: tuple[str, ...]) -> Sight:
        """Cuts those of ``only`` (``LOCAL REMOTE``) that are still there, if it is still that process; gives them."""
        variables = {**self._cutting(apiserver), "ballast_expected": _given(expected), "ballast_only": only}
        return self._seen(apiserver, CUT, variables, check=False)

    def rehearse(self, apiserver: Apiserver, how: Restart) -> Sight:
        """The dry run of `restart`: raises what it would, as where the unit's or the container's process is another.

        It sees no connections.
        """
        variables = {**_where(apiserver), "ballast_expected": None, **how.variables}
        return self._seen(apiserver, RESTART, variables, check=True)

    def restart(self, apiserver: Apiserver, expected: Process, how: Restart) -> Sight:
        """Ends that process, which it gives, and sees to it that another is started. Does not wait until it serves."""
        variables = {**_where(apiserver), "ballast_expected": _given(expected), **how.variables}
        return self._seen(apiserver, RESTART, variables, check=False)

    def _cutting(self, apiserver: Apiserver) -> Mapping[str, Variable]:
        return {**_where(apiserver), "ballast_ss": self._config.ss}

    def _seen(self, apiserver: Apiserver, playbook: str, variables: Mapping[str, Variable], *, check: bool) -> Sight:
        seconds = min(self._config.timeout, LOOK_SECONDS) if check else self._config.timeout
        outcome = self._play(Play(playbook, apiserver.host, variables, seconds, check))
        return parsed(apiserver.host, outcome.results[_TASK[playbook]].get("ballast"), outcome.stdout)

    def _play(self, play: Play) -> Outcome:
        # Mode 0700. What Ansible still writes there while it is removed changes nothing about the outcome.
        with tempfile.TemporaryDirectory(prefix="ballast-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            where = inventory.write(self._config, self._nodes, play.host, folder)
            told = replace(play, variables={**play.variables, **inventory.variables(self._config, folder)})
            return run(told, folder, where, inventory.environment(self._config, folder))


def _where(apiserver: Apiserver) -> Mapping[str, Variable]:
    return {"ballast_listens": apiserver.listens, "ballast_executable": apiserver.executable}


def _given(process: Process | None) -> Mapping[str, str | int] | None:
    return None if process is None else asdict(process)
