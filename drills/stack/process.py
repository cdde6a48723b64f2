"""One component: how it is declared, started, waited for, disturbed and stopped."""

import contextlib
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import TypedDict
from urllib.error import HTTPError

from drills.stack.families import alive, groups_of
from drills.stack.guardian import Guardian

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / ".tools" / "bin"
VENV = Path(sys.executable).parent

Probe = Callable[[], str | None]
"""Asks once whether a component is ready: None when it is, else what is missing, in words."""

TAIL_LINES = 25
POLL_SECONDS = 0.02
WAIT_FOR_LINE = 'read -r _ && exec "$@" </dev/null'
"""The shell that becomes the component, but only once the guardian knows it: without that line it just ends."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody without rights, for programs that refuse root."""

    name: str
    uid: int
    gid: int


class StackError(Exception):
    """A component cannot be started, in words a person can act on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """All that is particular about one process of a stack.

    Times are seconds. `env` is added to a small clean environment: a proxy or an `ETCD_*` variable of the
    person who runs this must not change what a test sees.
    """

    name: str
    program: Path
    arguments: tuple[str, ...]
    ready: Probe
    env: Mapping[str, str] = field(default_factory=dict)
    ready_within: float = 20.0
    stop_within: float = 5.0
    stop_signal: signal.Signals = signal.SIGTERM
    user: User | None = None
    """Whose process it is; None for the caller's own."""


ETCD_VERSION = "ETCD"
"""An environment variable: `ETCD=3.6` lets everything run on the etcd that `make tools-e2e` builds."""


def tool(name: str) -> Path:
    """The program of that name in .tools/bin; `StackError` when it is missing."""
    version = os.environ.get(ETCD_VERSION)
    if version and name in {"etcd", "etcdutl"}:
        name = f"{name}-{version}"
    built = name.startswith(("kube-", "kwok", "etcd-", "etcdutl-"))
    return _program(TOOLS / name, "make tools-e2e" if built else "make tools")


def console_script(name: str) -> Path:
    """The project's own program of that name; `StackError` when it is missing."""
    return _program(VENV / name, "make venv")


def _program(path: Path, command: str) -> Path:
    if not os.access(path, os.X_OK):
        raise StackError(f"{path.name} is missing (looked for {path}): run `{command}` in {ROOT}")
    return path


def http_probe(url: str, *, tls: ssl.SSLContext | None = None) -> Probe:
    """Ready when the URL answers 200 within a second."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))

    def ask() -> str | None:
        try:
            with opener.open(url, timeout=1.0) as answer:
                return None if answer.status == 200 else f"{url} answered {answer.status}"
        except HTTPError as error:
            with error:
                return f"{url} answered {error.code}: {error.read(500).decode(errors='replace').strip()}"
        except (OSError, HTTPException) as error:
            return f"{url}: {error}"

    return ask


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: tuple[int, ...]


class Process:
    """A component that runs, in a process group of its own; its log goes to one file over all restarts."""

    def __init__(self, component: Component, *, log: Path, guardian: Guardian) -> None:
        self.component = component
        self.log = log
        self._guardian = guardian
        self._popen: subprocess.Popen[bytes] | None = None
        self._apart: frozenset[int] = frozenset()
        """While it is paused: the groups of its children that left its own."""

    @property
    def name(self) -> str:
        return self.component.name

    @property
    def pid(self) -> int:
        """Process id, which is also its group's id. Keeps its last value after the end."""
        assert self._popen is not None, f"{self.name} was never started"
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended; a paused one runs."""
        return self._popen is not None and self._popen.returncode is None and not self._ended()

    def start(self) -> None:
        """Start it without waiting for readiness."""
        assert not self.running, f"{self.name} runs already"
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.log.parent.parent),
            **self.component.env,
        }
        with self.log.open("ab") as log:
            popen = subprocess.Popen(
                ("/bin/sh", "-c", WAIT_FOR_LINE, "sh", self.component.program, *self.component.arguments),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.log.parent.parent,
                env=environment,
                process_group=0,
                **self._identity(),
            )
        assert popen.stdin is not None
        with popen.stdin as pipe:
            self._guardian.watch(popen.pid)
            pipe.write(b"\n")
        self._popen = popen

    def _identity(self) -> "_Identity":
        user = self.component.user
        return {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": ()}

    def wait_ready(self, within: float | None = None) -> None:
        """Wait until the probe is content; `StackError` with the log's end when it ends or takes too long."""
        limit = self.component.ready_within if within is None else within
        deadline = time.monotonic() + limit
        while (reason := self.component.ready()) is not None:
            if not self.running:
                self._reap()
                raise StackError(f"{self.name} ended with {self.exit_code} before it was ready.{self.tail()}")
            if time.monotonic() >= deadline:
                raise StackError(f"{self.name} is not ready after {limit:g} s: {reason}.{self.tail()}")
            time.sleep(POLL_SECONDS)

    @property
    def exit_code(self) -> int | None:
        """As subprocess gives it (negative: signal); None while it runs."""
        return None if self._popen is None else self._popen.returncode

    def wait(self, within: float) -> int:
        """Wait until it ends by itself; gives its exit code, or raises `StackError` when it does not end."""
        if not self._wait_end(within):
            raise StackError(f"{self.name} still runs after {within:g} s.{self.tail()}")
        self._reap()
        code = self.exit_code
        assert code is not None
        return code

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing. Gives back when all its threads stand still.

        Children in groups of their own stand still too: PostgreSQL puts each of its processes into one.
        """
        self.signal(signal.SIGSTOP)
        if self.running:
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            self._apart = groups_of(self.pid)  # it stands still, so it starts no others
            for group in self._apart:
                self._guardian.watch(group)
                _signal_group(group, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: it goes on where it was paused."""
        for group in self._apart:
            _signal_group(group, signal.SIGCONT)
            self._guardian.forget(group)
        self._apart = frozenset()
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to all of it at once, as the kernel or a container runtime would; gives back when it is gone."""
        self.pause()
        apart, self._apart = self._apart, frozenset()
        self.signal(signal.SIGKILL)
        for group in apart:
            _signal_group(group, signal.SIGKILL)
        while any(alive(group) for group in apart):
            time.sleep(POLL_SECONDS)
        for group in apart:
            self._guardian.forget(group)
        self._reap()

    def terminate(self) -> None:
        """Its stop signal to the process itself, without waiting; it gets to see it even when it is paused."""
        if self.running:
            os.kill(self.pid, self.component.stop_signal)
            self.resume()

    def stop(self, within: float | None = None) -> None:
        """SIGTERM, and SIGKILL to the group when it has not ended after that time. Nothing when it is gone."""
        self.terminate()
        if self._popen is None or self._popen.returncode is not None:
            return
        self._wait_end(self.component.stop_within if within is None else within)
        self._reap()

    def restart(self) -> None:
        """Stop it if it runs, then start it with the same arguments, ports and data; waits for readiness."""
        self.stop()
        self.start()
        self.wait_ready()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, unless it is gone."""
        if self._popen is not None and self._popen.returncode is None:
            _signal_group(self.pid, number)

    def tail(self) -> str:
        """The log's last lines with its path, to end an error message with."""
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return f"\nThe end of {self.log}:\n" + "\n".join(f"  {line}" for line in lines)

    def _ended(self) -> bool:
        # WNOWAIT: while the leader is not reaped, nobody else can get its group's id.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def _wait_end(self, within: float) -> bool:
        deadline = time.monotonic() + within
        while not self._ended():
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _reap(self) -> None:
        """End whatever is left of the group, then take the exit code."""
        if self._popen is None or self._popen.returncode is not None:
            return
        self.signal(signal.SIGKILL)
        self._popen.wait()
        self._guardian.forget(self.pid)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
