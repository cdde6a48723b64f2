"""Where the faults happen: a store, the replicas that share it, and what the generated runs leave behind."""

import hashlib
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ballast_remediator.store.places import Place as StorePlace
from ballast_remediator.store.places import PostgresqlServer, SqliteFile
from drills.faults import sabotage, starter
from drills.faults.effects import FILE, REPLICA
from drills.faults.generated import CLUSTER, GENERATED
from drills.faults.points import LEASE, REPLICAS, StoreKind
from drills.faults.real import Surroundings
from drills.stack import Component, Postgresql, Process, Stack, http_probe
from drills.stack.faketime import Clock
from drills.stack.families import members
from drills.stack.process import ROOT, VENV, StackError, tool

ROLES: Final = ("ingest", "viewer", "admin")
DISK_MIB: Final[Mapping[StoreKind, int]] = {StoreKind.SQLITE: 64, StoreKind.POSTGRESQL: 512}
WIDE: Final = {"mode": "auto", "budget": {"runs": 1_000_000}, "cooldown": "1ms"}
"""One target fails again and again: what holds this back in earnest is not what is tried here."""
POLICY: Final = {
    "rules": [
        {"runbook": name, "match": {"cluster": CLUSTER}, **WIDE}
        for name in ("etcd-free-space", *(kind.name for kind in GENERATED))
    ],
    "brake": {"targets": 1_000_000},
}
ENGINE: Final = {"lease": f"{LEASE:g}s", "reopen_after": "1ms", "planning_patience": "20s", "workers": 32}
REAL: Final = {"compact_keep": "1s", "rearm_watch": "1s", "patience": "30s", "cluster_restored_within": "5s"}
UNREACHABLE: Final = "http://127.0.0.1:9"
NOTHING: Final = {
    "etcd": [{"members": [{"endpoint": UNREACHABLE, "metrics_url": UNREACHABLE}]}],
    "prometheus": {"url": UNREACHABLE},
    "alertmanagers": [{"url": UNREACHABLE}],
}
"""A cluster of which nobody asks anything."""
READY_WITHIN: Final = 60.0
RESTART_SECONDS: Final = 0.3
END_WITHIN: Final = 15.0
WARM: Final = "drills.faults.warm"
STARTER: Final = Path(starter.__file__)
TRACED: Final = "openat,pwrite64,fdatasync,fsync,ftruncate"


@dataclass(frozen=True, slots=True)
class Replica:
    """One remediator. ``traced`` is the same one under strace, on the same port; only one of both runs."""

    number: int
    url: str
    process: Process
    traced: Process
    trace: Path
    clock: Clock

    @property
    def pids(self) -> tuple[int, ...]:
        """Supervisor and worker, as far as they are there."""
        found = members(self.process.pid)
        found.pop(self.process.pid, None)  # it only waits for them
        return tuple(sorted(found, key=lambda pid: found[pid] in found))

    def kill_worker(self) -> None:
        """The supervisor then ends by itself."""
        self._kill(self.pids[1:])

    def kill_supervisor(self) -> None:
        """The kernel then kills the worker."""
        self._kill(self.pids[:1])

    def _kill(self, pids: tuple[int, ...]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(within=END_WITHIN)

    def bring_back(self) -> None:
        """As a supervisor does: started again until it is ready. Raises `StackError` when it never is."""
        self.process.resume()
        give_up = time.monotonic() + READY_WITHIN
        while True:
            if not self.process.running:
                self.process.stop()
                self.process.start()
            try:
                self.process.wait_ready(READY_WITHIN)
            except StackError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(RESTART_SECONDS)
            else:
                return


class Place:
    """One store with its replicas, and nobody else's."""

    def __init__(
        self,
        stack: Stack,
        kind: StoreKind,
        *,
        without: str = "",
        real: bool = True,
    ) -> None:
        """``without`` names a safeguard that is taken out of the replicas; only a ``real`` place has an etcd."""
        self.stack = stack
        self.kind = kind
        self.folder = stack.data("place")
        self.effects = self.folder / "effects"
        self.disk = stack.small_disk("disk", DISK_MIB[kind])
        self.server_clock = Clock(self.folder / "server-clock")
        # Without fsync a server still writes now and then: then the less often, the surer it shows.
        more = {"wal_writer_delay": "10s"} if without == sabotage.fsync.__name__ else {}
        self.server = self._postgresql(more) if kind is StoreKind.POSTGRESQL else None
        self._credentials()
        count = REPLICAS if kind is StoreKind.POSTGRESQL else 1
        self.surroundings = Surroundings(stack) if real else None
        self.replicas = tuple(self._replica(number, without) for number in range(count))

    @property
    def where(self) -> StorePlace:
        """The store, for whoever judges it."""
        if self.server is not None:
            return PostgresqlServer(self.server.url, self.server.password_file)
        return SqliteFile(self.disk.folder / "remediator.db")

    def token(self, role: str) -> Path:
        return self.folder / role

    def _postgresql(self, more: Mapping[str, str]) -> Postgresql:
        data = self.disk.folder / "postgresql"
        data.mkdir(mode=0o700)
        settings = {"max_wal_size": "64MB", "min_wal_size": "32MB", **more}
        return self.stack.postgresql(data_dir=data, settings=settings, env=self.server_clock.environment)

    def _credentials(self) -> None:
        entries = []
        for role in ROLES:
            token = secrets.token_hex(32)
            (self.folder / role).write_text(token)
            entries.append({"name": role, "role": role, "sha256": hashlib.sha256(token.encode()).hexdigest()})
        (self.folder / "tokens.yaml").write_text(json.dumps({"tokens": entries}))
        (self.folder / "policy.yaml").write_text(json.dumps(POLICY))

    def _replica(self, number: int, without: str) -> Replica:
        address = self.stack.address()
        config = self.folder / f"replica-{number}.yaml"
        config.write_text(json.dumps(self._config(address), default=str))
        clock = Clock(self.folder / f"clock-{number}")
        arguments = ("--config", str(config))
        environment = {
            "PYTHONPATH": os.pathsep.join((str(ROOT), *filter(None, sys.path))),  # from where this process has it
            FILE: str(self.effects),
            REPLICA: str(number),
            sabotage.WITHOUT: without,
            **clock.environment,
        }
        socket = self.folder / f"warm-{number}"
        warm = Component(
            name=f"{self.folder.name}-warm-{number}",
            program=VENV / "python",
            arguments=("-m", WARM, str(socket)),
            ready=lambda: None if socket.exists() else "it imports",
            ready_within=READY_WITHIN,
            env=environment,
        )
        component = Component(
            name=f"{self.folder.name}-replica-{number}",
            program=VENV / "python",
            arguments=("-I", "-S", str(STARTER), str(socket), *arguments),
            ready=http_probe(f"http://{address}/readyz"),
            ready_within=READY_WITHIN,
        )
        trace = self.folder / f"trace-{number}"
        traced = replace(
            component,
            name=f"{component.name}-traced",
            program=tool("strace"),
            env=environment,
            arguments=(
                *("--follow-forks", "--seccomp-bpf", "--decode-fds=path", "--string-limit=0", "--quiet=all"),
                *("--signal=none", f"--trace={TRACED}", f"--output={trace}"),
                *(str(VENV / "python"), "-m", "drills.faults.program", *arguments),
            ),
        )
        self.stack.run(warm)
        return Replica(
            number, f"http://{address}", self.stack.run(component)[0], self.stack.prepared(traced), trace, clock
        )

    def _config(self, address: str) -> Mapping[str, object]:
        store: Mapping[str, object] = {"path": self.disk.folder / "remediator.db"}
        if self.server is not None:
            store = {"postgresql": self.server.url, "password_file": self.server.password_file}
        return {
            "listen": address,
            "store": store,
            "tokens_file": self.folder / "tokens.yaml",
            "policy_file": self.folder / "policy.yaml",
            "snapshots": {"directory": self.folder / "snapshots"},
            "clusters": {CLUSTER: NOTHING if self.surroundings is None else self.surroundings.config()},
            "runbooks": {"etcd-free-space": REAL},
            "engine": ENGINE,
        }
