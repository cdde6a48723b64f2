"""Ansible module: looks at one apiserver's process on its host, cuts its connections to etcd, and restarts it.

It runs on that host with whatever Python is there (3.8 or newer, as ansible-core asks), so it stands on nothing of
ours. It always answers with ``ballast``: either ``problem`` (one of `PROBLEMS`, with ``words``), or what was found. No
shell is started, and ``ss`` gets each connection as arguments of its own.

A process is known by its id, the ticks after the boot at which it began, and the boot's id: an id alone is used again.

Whoever acts holds a lock on the host until it has ended, also when nobody waits for its answer any more. Looking tells
that somebody does.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Run = Callable[..., tuple[int, str, str]]
    """Starts a program with these arguments, without a shell; gives its exit code, stdout and stderr.

    ``environ_update`` is what its environment has besides ours.
    """

PROBLEMS = (
    "no_process",
    "several_processes",
    "other_executable",
    "other_network",
    "process_changed",
    "no_endpoints",
    "no_ss",
    "not_permitted",
    "kernel_cannot",
    "not_cut",
    "busy",
    "not_its_process",
    "restart_failed",
    "host_failed",
)
ESTABLISHED, LISTENS = "01", "0A"
GONE_SECONDS = 2.0
"""How long a connection that was cut may still be seen."""
KILLED_SECONDS = 60.0
"""How long a process may still be seen after SIGKILL: it frees gigabytes of memory, thread by thread."""
PAUSE = 0.02
LOCKS = "/run"
"""Only root makes files there, and nobody else can hold a lock that stands for one of ours."""


class Problem(Exception):
    """Why it cannot go on: ``kind`` is one of `PROBLEMS`."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class Row(NamedTuple):
    """One line of /proc/net/tcp: addresses as ``ss`` writes them."""

    local: str
    remote: str
    state: str
    inode: str

    @property
    def names(self) -> str:
        return f"{self.local} {self.remote}"


class Identity(NamedTuple):
    """What tells a process from all others, earlier and later ones too."""

    pid: int
    started: int
    boot: str


def lock_file(listens: str) -> str:
    return f"{LOCKS}/ballast-apiserver-{listens.rpartition(':')[2]}.lock"


def nobody_acts(listens: str) -> None:
    """Raises `Problem` while somebody acts on the apiserver of ``listens``."""
    if os.path.lexists(lock_file(listens)):
        with locked(listens, os.O_RDONLY, fcntl.LOCK_SH):
            pass


@contextmanager
def locked(listens: str, flags: int, kind: int) -> Iterator[None]:
    """Raises `Problem` while somebody acts on the apiserver of ``listens``, or where that cannot be told.

    The lock is this process' own, and no program that it starts has it: an apiserver would keep it for good.
    """
    try:
        file = os.open(lock_file(listens), flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Problem("not_permitted", f"whether somebody acts on {listens} cannot be told: {error}") from error
    try:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Problem("busy", f"somebody acts on {listens} on its host already, and has not ended") from error
        yield
    finally:
        os.close(file)


def table(process: str) -> Iterator[Row]:
    """All TCP sockets of the network namespace that ``process`` (an id, or `self`) is in."""
    for family in ("tcp", "tcp6"):
        try:
            lines = _read(f"/proc/{process}/net/{family}").splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            fields = line.split()
            yield Row(_address(fields[1]), _address(fields[2]), fields[3], fields[9])


def _address(text: str) -> str:
    """``0100007F:0BB8`` is 127.0.0.1:3000: each four bytes are a number of this machine's byte order."""
    digits, _, port = text.partition(":")
    words = [bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8)]
    return _joined(str(ipaddress.ip_address(b"".join(words))), int(port, 16))


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def plain(address: str) -> str:
    """The same address, an IPv4 one that an IPv6 socket uses written as IPv4."""
    host, _, port = address.rpartition(":")
    found = ipaddress.ip_address(host.strip("[]"))
    mapped = getattr(found, "ipv4_mapped", None)
    return _joined(str(mapped or found), int(port))


def listener(listens: str) -> str:
    """The inode of the socket that takes connections to ``listens`` (IP:PORT) in this network namespace."""
    host, _, port = listens.rpartition(":")
    if not local(host.strip("[]")):
        # Whoever listens everywhere would else be taken for an apiserver of another host.
        raise Problem("no_process", f"this host has no address {host}: it is not the host of {listens}")
    everywhere = {f"0.0.0.0:{port}", f"[::]:{port}"}
    rows = [row for row in table("self") if row.state == LISTENS]
    found = [row for row in rows if plain(row.local) == plain(listens)] or [
        row for row in rows if row.local in everywhere
    ]
    if not found:
        raise Problem("no_process", f"nobody listens on {listens} in the host's network")
    if len({row.inode for row in found}) > 1:
        raise Problem("several_processes", f"several sockets listen on {listens}: which is meant cannot be told")
    return found[0].inode


def local(host: str) -> bool:
    """Whether this host has that address: the way to it begins at itself. Nothing is sent."""
    address = ipaddress.ip_address(host)
    if address.is_loopback:
        return True
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError:
            return False
        return bool(ipaddress.ip_address(probe.getsockname()[0]) == address)


def holders(inode: str) -> list[int]:
    """The ids of the processes that hold the socket."""
    return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and inode in sockets(pid)]


def sockets(pid: str) -> set[str]:
    """The inodes of the process' sockets; none where it has ended."""
    found = set()
    try:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        return set()
    return found


def identity(pid: int) -> Identity:
    """Raises OSError when there is no such process."""
    return Identity(pid, int(_status(pid)[19]), _read("/proc/sys/kernel/random/boot_id").strip())


def _status(pid: int) -> list[str]:
    """What /proc says after the process' name: its state, and 19 fields on, when it began."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def lives(who: Identity) -> bool:
    """Whether that process has not ended. One that ended and that its parent has not asked for yet has."""
    try:
        status = _status(who.pid)
    except OSError:
        return False
    return int(status[19]) == who.started and status[0] not in ("Z", "X")


def found_process(listens: str, executable: str) -> Identity:
    """The process behind ``listens``, whose program is ``executable`` (a name, or a whole path)."""
    pids = holders(listener(listens))
    if not pids:
        raise Problem("not_permitted", f"whose socket listens on {listens} cannot be seen: it takes root")
    if len(pids) > 1:
        raise Problem("several_processes", f"the socket on {listens} is held by processes {sorted(pids)}")
    who = identity(pids[0])
    program = os.readlink(f"/proc/{who.pid}/exe")
    bare = re.sub(r" \(deleted\)$", "", program)  # replaced on disk since it began, as by an upgrade
    if executable not in (bare, os.path.basename(bare)):
        raise Problem("other_executable", f"process {who.pid} listens on {listens} and is {program}, not {executable}")
    if os.readlink(f"/proc/{who.pid}/ns/net") != os.readlink("/proc/self/ns/net"):
        raise Problem("other_network", f"process {who.pid} is not in the host's network: its connections are not here")
    return who


def same(who: Identity, expected: dict[str, Any]) -> None:
    """Raises `Problem` when ``who`` is not the process that was expected."""
    before = Identity(int(expected["pid"]), int(expected["started"]), str(expected["boot"]))
    if who == before:
        return
    if who.pid == before.pid and who.boot == before.boot:
        raise Problem(
            "process_changed",
            f"process id {who.pid} was used again: another process has it now, which began "
            f"{who.started - before.started} clock ticks later",
        )
    raise Problem(
        "process_changed", f"the apiserver is process {who.pid} now and was {before.pid}: it was restarted meanwhile"
    )


def endpoints(pid: int) -> list[str]:
    """Where the process looks for etcd, by its own arguments: IP:PORT, names resolved here."""
    arguments = _read(f"/proc/{pid}/cmdline").split("\0")
    urls = []
    for name, value in zip(arguments, [*arguments[1:], ""]):  # noqa: B905 - Python 3.8 runs this too
        flag, equals, given = name.lstrip("-").partition("=")
        text = given if equals else value
        if flag == "etcd-servers":
            urls += text.split(",")
        elif flag == "etcd-servers-overrides":
            urls += [url for override in text.split(",") for url in override.partition("#")[2].split(";")]
    found = {address for url in urls if url for address in _resolved(url)}
    if not found:
        raise Problem("no_endpoints", f"process {pid} does not say in --etcd-servers over TCP which etcd it uses")
    return sorted(found)


def _resolved(url: str) -> list[str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not parts.port:
        return []
    try:
        known = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Problem("no_endpoints", f"{parts.hostname}, which it has as an etcd, is not resolved: {error}") from error
    return [_joined(str(each[4][0]), parts.port) for each in known]


def connections(pid: int, ends: Sequence[str]) -> list[Row]:
    """The process' own established connections to ``ends``, and no others."""
    own = sockets(str(pid))
    rows = (row for row in table(str(pid)) if row.state == ESTABLISHED and row.inode in own)
    return sorted(row for row in rows if plain(row.remote) in ends)


def cut(rows: Sequence[Row], ss: str, run: Run) -> list[Row]:
    """Cuts exactly these, and gives those that are there all the same."""
    done: list[str] = []
    with _telling(done, "not_cut"):
        for number, row in enumerate(rows, 1):
            _kill(row, ss, run)
            done[:] = [f"{number} of {len(rows)} were cut"]
    wanted = {(row.names, row.inode) for row in rows}
    gives_up = time.monotonic() + GONE_SECONDS
    while True:
        left = [row for row in table("self") if row.state == ESTABLISHED and (row.names, row.inode) in wanted]
        if not left or time.monotonic() > gives_up:
            return left
        time.sleep(PAUSE)


def _kill(row: Row, ss: str, run: Run) -> None:
    try:
        code, _, errors = run([ss, "-K", "-H", "-t", "-n", "state", "established", "src", row.local, "dst", row.remote])
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EACCES, errno.ENOEXEC):  # as where the host is short of memory
            raise
        raise Problem("no_ss", f"{ss} is not started: {error.strerror}") from error
    if "not permitted" in errors:
        raise Problem("not_permitted", f"ss -K: {errors.strip()}: it takes root (CAP_NET_ADMIN)")
    if code:
        raise Problem("no_ss", f"this ss cannot cut connections (ss -K): {errors.strip() or f'exit code {code}'}")


def try_cutting(ss: str, run: Run) -> None:
    """Cuts a connection of our own, to ourselves: raises `Problem` where this host cannot.

    ss says nothing where the kernel has no INET_DIAG_DESTROY, and exits with 0: only the connection itself tells.
    """
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as line:
        taken, _ = server.accept()
        with taken:
            local, remote = _joined(*line.getsockname()), _joined(*line.getpeername())
            rows = [row for row in table("self") if (row.local, row.remote) == (local, remote)]
            if cut(rows, ss, run):
                raise Problem(
                    "kernel_cannot",
                    f"the kernel ({os.uname().release}) does not cut connections: it is built without "
                    "CONFIG_INET_DIAG_DESTROY",
                )


def seen(what: Callable[[], bool], within: float) -> bool:
    """Waits for it: whether it came within so many seconds."""
    gives_up = time.monotonic() + within
    while not what():
        if time.monotonic() > gives_up:
            return False
        time.sleep(PAUSE)
    return True


def ended(who: Identity, handle: int | None, within: float) -> bool:
    """Waits for its end: whether it came within so many seconds."""
    if handle is None:
        return seen(lambda: not lives(who), within)
    ends = select.poll()
    ends.register(handle, select.POLLIN)  # once its last thread is gone; its first may have been dead for long
    return bool(ends.poll(within * 1000))


def end(who: Identity, grace: float, done: list[str]) -> bool:
    """SIGTERM, and SIGKILL where that does not end it within ``grace`` seconds: whether it has ended.

    ``done`` gets what was done.
    """
    handle = _handle(who.pid)
    try:
        # What was opened first and is compared now is that process for good, whoever has its id later.
        same(identity(who.pid), who._asdict())
        for number, within in ((signal.SIGTERM, grace), (signal.SIGKILL, KILLED_SECONDS)):
            if not _sent(who, handle, number):
                return True
            done.append(f"{number.name} was sent to process {who.pid}")
            if ended(who, handle, within):
                return True
    finally:
        if handle is not None:
            os.close(handle)
    return False


def _handle(pid: int) -> int | None:
    """A descriptor of that very process; None where Python (before 3.9) or the kernel (before 5.3) has none."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        return None


def _sent(who: Identity, handle: int | None, number: signal.Signals) -> bool:
    """Whether it was sent: to one that has ended nothing is."""
    try:
        if handle is not None:
            signal.pidfd_send_signal(handle, number)
        elif lives(who):
            os.kill(who.pid, number)
        else:
            return False
    except ProcessLookupError:
        return False
    return True


def by_systemd(who: Identity, parameters: dict[str, Any], run: Run, *, check: bool) -> None:
    """Ends the unit's process, and starts the unit: nothing to do where systemd has done so already.

    To start a unit whose end systemd has not seen yet does nothing, so that is waited for. Started it is in any case.
    A process that SIGKILL did not end in time would be there still: stop and start are left to systemd then.
    """
    unit, grace = parameters["unit"], parameters["grace"]
    asks = ["systemctl", "show", "--property=MainPID", "--value", unit]
    main = _asked(run, asks)
    if main != str(who.pid):
        raise Problem(
            "not_its_process", f"unit {unit} runs process {main}, and the apiserver is {who.pid}: nothing was done"
        )
    if check:
        return

    def noticed() -> bool:
        try:
            code, told, _ = run(asks)
        except OSError:
            return False
        return code == 0 and told.strip() != str(who.pid)

    done: list[str] = []
    gives_up = time.monotonic() + grace + KILLED_SECONDS
    with _telling(done):
        if not end(who, grace, done):
            _asked(run, ["systemctl", "--no-block", "restart", unit])
            raise Problem(
                "restart_failed", f"process {who.pid} is still there. systemd was told to restart unit {unit}"
            )
        over = seen(noticed, gives_up - time.monotonic())
        _asked(run, ["systemctl", "start", unit])
        if not over:
            raise Problem(
                "restart_failed", f"process {who.pid} is still the one of unit {unit}, whose start did nothing then"
            )


def by_cri(who: Identity, parameters: dict[str, Any], run: Run, *, check: bool) -> None:
    """The container runtime stops its container, and the kubelet starts another one. No manifest is moved."""
    name, grace = parameters["container"], parameters["grace"]
    found = _asked(run, ["crictl", "ps", "--quiet", "--state", "Running", "--name", f"^{name}$"]).split()
    if len(found) != 1:
        raise Problem("not_its_process", f"{len(found)} containers are called {name} and run: nothing was done")
    main = _asked(run, ["crictl", "inspect", "--output", "go-template", "--template", "{{.info.pid}}", found[0]])
    if main != str(who.pid):
        raise Problem(
            "not_its_process", f"container {name} runs process {main}, and the apiserver is {who.pid}: nothing was done"
        )
    if check:
        return
    done: list[str] = []
    with _telling(done):
        _asked(run, ["crictl", "stop", "--timeout", str(grace), found[0]])
        done.append(f"container {found[0]} was stopped")
        if not ended(who, None, KILLED_SECONDS):
            raise Problem("restart_failed", f"process {who.pid} is still there")


def by_command(who: Identity, parameters: dict[str, Any], run: Run, *, check: bool) -> None:
    """A program of the site's own ends it and starts another one."""
    if not check:
        _asked(run, parameters["command"], environ_update={"BALLAST_APISERVER_PID": str(who.pid)})


RESTARTS = {"systemd": by_systemd, "cri": by_cri, "command": by_command}


@contextmanager
def _telling(done: list[str], kind: str = "restart_failed") -> Iterator[None]:
    """What fails in here says what had been ``done`` before, and is of that ``kind`` then."""
    try:
        yield
    except (Problem, OSError) as error:
        if not done:
            raise
        raise Problem(kind, f"after {' and '.join(done)}: {error}") from error


def _asked(run: Run, command: list[str], **more: dict[str, str]) -> str:
    """What it says. Raises `Problem` where it fails."""
    try:
        code, told, errors = run(command, **more)
    except OSError as error:
        raise Problem("restart_failed", f"{command[0]} is not started: {error.strerror}") from error
    if code:
        words = " ".join(f"{errors} {told}".split())
        raise Problem("restart_failed", f"{' '.join(command)} ended with {code}: {words}")
    return str(told).strip()


def apart(argv: list[str], environ_update: dict[str, str] | None = None) -> tuple[int, str, str]:
    """As `Run`, in a session of its own: what ends whoever asked for this does not end what restarts an apiserver.

    Its end is waited for and not that of its output, which what it leaves behind may hold for good.
    """
    ours = {name: value for name, value in os.environ.items() if name != "BALLAST_ANSIBLE"}  # see bound.py
    with _memory("stdout") as output, _memory("stderr") as errors:
        started = subprocess.Popen(  # noqa: S603 - arguments of our own, no shell
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
            env={**ours, **(environ_update or {})},
        )
        code = started.wait()
        return code, _written(output), _written(errors)


def _memory(name: str) -> IO[bytes]:
    """A file that needs no disk: that may be full when a process has been ended and has to be started."""
    if not hasattr(os, "memfd_create"):  # a Python that was built for a C library before glibc 2.27
        return tempfile.TemporaryFile()
    return os.fdopen(os.memfd_create(name), "w+b")


def _written(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def told(parameters: dict[str, Any], run: Run, ss: str | None, *, check: bool) -> dict[str, Any]:
    """What it answers with: what `answer` gives, or the problem."""
    try:
        return answer(parameters, run, ss, check=check)
    except Problem as problem:
        return {"problem": problem.kind, "words": str(problem)}
    except (FileNotFoundError, ProcessLookupError) as error:  # it ended while it was looked at
        return {"problem": "process_changed", "words": f"it changed meanwhile: {error}"}
    except OSError as error:
        return {"problem": "host_failed", "words": f"the host does not do what it is asked: {error}"}


def answer(parameters: dict[str, Any], run: Run, ss: str | None, *, check: bool) -> dict[str, Any]:
    """What ``parameters`` ask for. In check mode nothing of the apiserver's is touched."""
    if check or parameters["mode"] == "look":
        nobody_acts(parameters["listens"])
        return _answer(parameters, run, ss, check=check)
    with locked(parameters["listens"], os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX):
        return _answer(parameters, run, ss, check=check)


def _answer(parameters: dict[str, Any], run: Run, ss: str | None, *, check: bool) -> dict[str, Any]:
    expected, mode = parameters["expected"], parameters["mode"]
    who = found_process(parameters["listens"], parameters["executable"])
    if expected:
        same(who, expected)
    if mode == "restart":
        RESTARTS[parameters["method"]](who, parameters, run, check=check)
    if mode == "look" or (mode == "restart" and not check):
        return {"process": who._asdict()}
    if mode == "restart":
        return {"process": who._asdict(), "endpoints": endpoints(who.pid)}
    if ss is None:
        raise Problem("no_ss", "there is no ss on this host: install iproute2")
    ends = endpoints(who.pid)
    if check:
        try_cutting(ss, run)
    there = connections(who.pid, ends)
    chosen = there if parameters["only"] is None else [row for row in there if row.names in parameters["only"]]
    told = {"process": who._asdict(), "endpoints": ends, "connections": [row.names for row in chosen]}
    if check or not chosen:
        return told
    same(identity(who.pid), who._asdict())  # right before the effect
    left = cut(chosen, ss, run)
    if left:
        try_cutting(ss, run)
        raise Problem("not_cut", f"{len(left)} of {len(chosen)} connections are still there: {left[0].names}, ...")
    return told


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def main() -> None:
    """As Ansible starts it."""
    module = AnsibleModule(
        argument_spec={
            "mode": {"choices": ["look", "cut", "restart"], "required": True},
            "listens": {"type": "str", "required": True},
            "executable": {"type": "str", "required": True},
            "expected": {"type": "dict"},
            "only": {"type": "list", "elements": "str"},
            "ss": {"type": "str", "default": "ss"},
            "method": {"choices": sorted(RESTARTS)},
            "command": {"type": "list", "elements": "str"},
            "unit": {"type": "str"},
            "container": {"type": "str"},
            "grace": {"type": "int"},
        },
        supports_check_mode=True,
    )
    parameters = module.params
    restarts = parameters["mode"] == "restart" and not module.check_mode
    if restarts:
        # Whoever ends this politely would leave a process that was ended and that nobody starts. Not SIG_IGN: that
        # would be handed down to what is started.
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
    found = told(parameters, apart, module.get_bin_path(parameters["ss"]), check=module.check_mode)
    acted = restarts and "problem" not in found
    changed = acted or (not module.check_mode and bool(found.get("connections")))
    module.exit_json(changed=changed, ballast=found)


if __name__ == "__main__":
    main()
