"""What all components of a stack share: a folder, ports, logs, and an end."""

import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from drills.stack.disk import SmallDisk
from drills.stack.guardian import Guardian
from drills.stack.process import Component, Process

LOOPBACK = "127.0.0.1"
GRACE_SECONDS = 0.5
"""Between SIGTERM and SIGKILL when all ends: an etcd that hands over its leadership to nobody would take 7 s."""


class Ground:
    """A temporary folder (`data/`, `logs/`) with processes that end with it, in whatever way this process ends.

    Ports: each is held by a bound, never listening socket for as long as the ground lives. The kernel then gives
    it to nobody who asks for any port, nor to an outgoing connection, while a server that sets SO_REUSEADDR, as
    all of ours do, may listen on it, also again after a restart.
    """

    def __init__(self, *, keep_logs_on_failure: bool = True) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ballast-stack-"))
        self.logs = self.folder / "logs"
        self._data = self.folder / "data"
        self.logs.mkdir()
        self._data.mkdir()
        self._keep_logs_on_failure = keep_logs_on_failure
        self._failed = False
        self._held: list[socket.socket] = []
        self._processes: list[Process] = []
        self._guardian = Guardian(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, KeyboardInterrupt):
            self.fail()
            if self._keep_logs_on_failure:
                error.add_note(f"The logs of all components are kept in {self.logs}")
        self.close()

    @property
    def processes(self) -> tuple[Process, ...]:
        """Everything started so far, in the order of the start, also what has ended."""
        return tuple(self._processes)

    def port(self) -> int:
        """A TCP port on loopback that nobody else gets before the ground is closed."""
        holder = socket.socket()
        holder.bind((LOOPBACK, 0))
        # Set after the bind: set before it, two holders could be given the same port.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.append(holder)
        port: int = holder.getsockname()[1]
        return port

    def address(self) -> str:
        """A fresh `127.0.0.1:PORT`."""
        return f"{LOOPBACK}:{self.port()}"

    def data(self, name: str) -> Path:
        """An empty folder of that name; a second one of the same name gets a number."""
        for count in range(1, sys.maxsize):
            path = self._data / (name if count == 1 else f"{name}.{count}")
            if not path.exists():
                path.mkdir(mode=0o700)
                return path
        raise AssertionError("there is always a free number")

    def small_disk(self, name: str, mib: int) -> SmallDisk:
        """A disk of so many MiB, where this user may mount one; it ends with the ground."""
        disk = SmallDisk.mounted(self.data(name), mib)
        if disk.small:
            self._guardian.unmount(disk.folder)
        return disk

    def run(self, *components: Component) -> tuple[Process, ...]:
        """Start them together, then wait for each; raises `StackError` with the log's end."""
        started = tuple(self.prepared(component) for component in components)
        for process in started:
            process.start()
        for process in started:
            process.wait_ready()
        return started

    def prepared(self, component: Component) -> Process:
        """One that is started later, and ends with the ground."""
        process = Process(component, log=self.logs / f"{component.name}.log", guardian=self._guardian)
        self._processes.append(process)
        return process

    def fail(self) -> None:
        """Say that something went wrong, so that the logs stay (unless they are not wanted)."""
        self._failed = True

    def close(self) -> None:
        """Stop all processes, the last one first, and remove the folder; after a failure, all but the logs."""
        for process in reversed(self._processes):
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in reversed(self._processes):
            process.stop(within=max(0.0, deadline - time.monotonic()))
        for holder in self._held:
            holder.close()
        if self._failed and self._keep_logs_on_failure:
            self._guardian.keep_folder()
            shutil.rmtree(self._data, ignore_errors=True)
        self._guardian.close()


def mountpoint(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The mount point that holds the path: node_exporter's label `mountpoint`."""
    points = []
    for line in mounts.read_text().splitlines():
        point = line.split(" ")[1].encode().decode("unicode_escape")
        if os.path.commonpath((point, path.resolve())) == point:
            points.append(point)
    return max(points, key=len)


def clean(mapping: Mapping[str, str | None]) -> tuple[str, ...]:
    """Flags `--name=value` from names and values, without those that are None."""
    return tuple(f"--{name}={value}" for name, value in mapping.items() if value is not None)
