"""Puts the real components into .tools/bin: what PATH has in a good version, else Debian's packages.

Run by `make tools`; needs nothing but Python. A second run finds everything in place. Downloaded packages are
kept in the user's cache, so that a fresh clone needs no network. Nothing is installed on the system.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.debian import Apt, AptError, private_apt, relocate, unpack

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
BIN = TOOLS / "bin"
CACHE_HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ballast"
CACHE = CACHE_HOME / "debian"
SUITES = ("forky", "trixie", "bookworm")
"""Newest first: trixie's etcd is too old, its Prometheus and Alertmanager would do. What is bound to the C library has
to be as old as this machine: bookworm is for that."""

SBIN = ("/usr/sbin", "/sbin")
"""Not on everybody's PATH: sshd lies there."""

WRAPPER = """\
#!/bin/sh
# Debian's program, unpacked: libraries that this system may lack lie beside it.
content=$(dirname "$(dirname "$(readlink -f "$0")")")
LD_LIBRARY_PATH=$(printf '%s:' "$content"/libraries/*/usr/lib/*-linux-gnu*)
export LD_LIBRARY_PATH
exec "$content/{program}" "$@"
"""

Version = tuple[int, int, int]
_SAID = re.compile(r"(?:version:? v?|OpenSSH_|iproute2-)(\d+)\.(\d+)(?:\.(\d+))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Versions:
    """Accepted versions: `first` <= version < `below`, for any of the spans."""

    spans: tuple[tuple[Version, Version], ...]
    words: str

    def __contains__(self, version: Version) -> bool:
        return any(first <= version < below for first, below in self.spans)


# Before 3.5.23 and 3.6.5 a defragmentation can corrupt data (etcd-io/etcd#20653).
ETCD = Versions((((3, 5, 23), (3, 6, 0)), ((3, 6, 5), (4, 0, 0))), "3.5 from 3.5.23 on, or 3.6 from 3.6.5 on")
PROMETHEUS = Versions((((2, 53, 0), (4, 0, 0)),), "2.53 or newer, below 4")
ALERTMANAGER = Versions((((0, 27, 0), (1, 0, 0)),), "0.27 or newer, below 1")
NODE_EXPORTER = Versions((((1, 5, 0), (2, 0, 0)),), "1.5 or newer, below 2")
STRACE = Versions((((5, 0, 0), (8, 0, 0)),), "5 or newer, below 8")
OPENSSH = Versions((((9, 2, 0), (11, 0, 0)),), "9.2 or newer, below 11")
IPROUTE = Versions((((5, 0, 0), (8, 0, 0)),), "5 or newer, below 8")
FAKETIME = Versions((((0, 9, 10), (0, 10, 0)),), "0.9.10 or newer, below 0.10")


@dataclass(frozen=True, slots=True)
class Program:
    """One program: its name in .tools/bin, Debian's package, the names it goes by elsewhere."""

    name: str
    package: str
    versions: Versions
    aliases: tuple[str, ...] = ()
    ask: str = "--version"
    needed: bool = True
    """Whether nothing goes without it: what is not needed is a fault that the fault script then leaves out."""
    libraries: tuple[str, ...] = ()
    """Packages of shared libraries that it needs, and a system may lack: they are unpacked beside it."""

    def inside(self, content: Path, name: str) -> Path | None:
        """Where unpacked content has it under that name."""
        if (content / "usr" / "bin" / name).exists():
            return relocate(content, name)
        others = (content / folder / name for folder in ("usr/sbin", "bin", "sbin"))
        found = next((path for path in others if path.exists()), None)
        return found if found is None or not self.libraries else beside(content, found, self.libraries)

    def elsewhere(self, path: str) -> Iterator[Path]:
        """What the folders of ``path`` have under its names."""
        for name in (self.name, *self.aliases):
            if found := shutil.which(name, path=os.pathsep.join((path, *SBIN)) if path else path):
                yield Path(found)

    def version(self, path: Path) -> Version | None:
        """What the program at the path says it is; None when it does not run here or says nothing known."""
        try:
            done = subprocess.run((path, self.ask), timeout=20, check=False, capture_output=True, text=True)
        except (OSError, subprocess.TimeoutExpired):
            return None
        found = _SAID.search(done.stdout + done.stderr)
        return _version(found) if found and done.returncode == 0 else None

    def good(self, path: Path) -> bool:
        """Whether the program at the path runs here and has an accepted version."""
        version = self.version(path)
        return version is not None and version in self.versions


class Preload(Program):
    """A library for ``LD_PRELOAD``, one folder of which Debian has per architecture."""

    WHERE = "usr/lib/*/faketime"

    def inside(self, content: Path, name: str) -> Path | None:
        return next(iter(content.glob(f"{self.WHERE}/{name}")), None)

    def elsewhere(self, path: str) -> Iterator[Path]:
        linked = (Path(folder) / self.name for folder in path.split(os.pathsep) if folder)
        yield from (each for each in (*linked, *Path("/").glob(f"{self.WHERE}/{self.name}")) if each.exists())

    def version(self, path: Path) -> Version | None:
        """It tells none, so its oldest accepted one stands for it where a program runs with it."""
        env = {"LD_PRELOAD": str(path), "FAKETIME": "2001-01-01 00:00:00", "PATH": os.defpath, "TZ": "UTC"}
        try:
            done = subprocess.run(("date", "+%Y"), env=env, timeout=20, check=False, capture_output=True, text=True)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return self.versions.spans[0][0] if done.stdout.strip() == "2001" and path.exists() else None


def _version(found: re.Match[str]) -> Version:
    return int(found[1]), int(found[2]), int(found[3] or 0)


PROGRAMS = (
    Program("etcd", "etcd-server", ETCD),
    Program("etcdutl", "etcd-server", ETCD, ask="version"),
    Program("etcdctl", "etcd-client", ETCD, ask="version"),
    Program("prometheus", "prometheus", PROMETHEUS),
    Program("promtool", "promtool", PROMETHEUS),
    Program("alertmanager", "prometheus-alertmanager", ALERTMANAGER, aliases=("prometheus-alertmanager",)),
    Program("amtool", "prometheus-alertmanager", ALERTMANAGER),
    Program("prometheus-node-exporter", "prometheus-node-exporter", NODE_EXPORTER, aliases=("node_exporter",)),
    Program("ssh", "openssh-client", OPENSSH, ask="-V"),
    Program("sshd", "openssh-server", OPENSSH, ask="-V", libraries=("libwrap0",)),
    Program("ss", "iproute2", IPROUTE, ask="-V"),
    Program("strace", "strace", STRACE, needed=False),
    Preload("libfaketimeMT.so.1", "libfaketime", FAKETIME, needed=False),
)


def in_place(program: Program) -> bool:
    return program.good(BIN / program.name)


def from_path(program: Program) -> bool:
    """Link what PATH has, when its version is accepted."""
    elsewhere = os.pathsep.join(folder for folder in os.get_exec_path() if folder and Path(folder).resolve() != BIN)
    for found in program.elsewhere(elsewhere):
        if program.good(found):
            link(program.name, found.absolute())
            return True
        print(f"  {found} is left aside: its version is not {program.versions.words}")
    return False


def from_cache(program: Program) -> bool:
    """Unpack a package downloaded earlier, the newest download first."""
    debs = sorted(CACHE.glob(f"{program.package}_*.deb"), key=lambda deb: deb.stat().st_mtime, reverse=True)
    return any(from_package(program, deb) for deb in debs)


def from_package(program: Program, deb: Path) -> bool:
    """Unpack one package and link the program, when it runs here in an accepted version."""
    if not offers(program, deb.name):
        return False
    content = TOOLS / "debian" / deb.stem
    content.parent.mkdir(exist_ok=True)
    try:
        if not content.exists():
            unpack(deb, content)
    except AptError as error:
        print(f"  {deb} is left aside: {error}")
        return False
    for name in (program.name, *program.aliases):
        if (path := program.inside(content, name)) and program.good(path):
            link(program.name, path)
            return True
    return False


def offers(program: Program, file_name: str) -> bool:
    """Whether a package of that file name (`etcd-server_3.5.30-2_amd64.deb`) has an accepted version."""
    found = re.match(r"[^_]+_(?:\d+%3a)?(\d+)\.(\d+)(?:\.(\d+))?", file_name)
    return found is not None and _version(found) in program.versions


def link(name: str, target: Path) -> None:
    """Make the target .tools/bin's program of that name."""
    BIN.mkdir(parents=True, exist_ok=True)
    fresh = BIN / f".{name}"
    fresh.unlink(missing_ok=True)
    # Inside the project relative, so that the folder can be moved.
    fresh.symlink_to(os.path.relpath(target, BIN) if target.is_relative_to(TOOLS) else target)
    fresh.replace(BIN / name)


def beside(content: Path, program: Path, libraries: Sequence[str]) -> Path:
    """A wrapper of the unpacked program that finds libraries of the cache's packages.

    Of each the oldest: what was made for an older C library runs with a newer one, and not the other way round.
    """
    for library in libraries:
        debs, into = sorted(CACHE.glob(f"{library}_*.deb")), content / "libraries" / library
        if debs:
            shutil.rmtree(into, ignore_errors=True)
            into.parent.mkdir(exist_ok=True)
            unpack(debs[0], into)
    wrapper = content / "relocated" / program.name
    wrapper.parent.mkdir(exist_ok=True)
    wrapper.write_text(WRAPPER.format(program=program.relative_to(content)))
    wrapper.chmod(0o755)
    return wrapper


def from_debian(missing: list[Program]) -> tuple[list[Program], list[str]]:
    """Download what is missing, suite by suite; gives what is still missing, and why."""
    reasons: list[str] = []
    for suite in SUITES:
        if not missing:
            break
        print(f"  reading the package lists of Debian {suite} ...", flush=True)
        try:
            with private_apt(suite, TOOLS) as apt:
                reasons += [why for package in packages(missing) if (why := download(apt, package, missing))]
        except AptError as error:
            reasons.append(f"Debian {suite}: {error}")
        missing = [program for program in missing if not from_cache(program)]
    return missing, reasons


def packages(programs: list[Program]) -> list[str]:
    return list(dict.fromkeys(program.package for program in programs))


def download(apt: Apt, package: str, missing: list[Program]) -> str | None:
    """Put the package into the cache, when its version is accepted; gives the reason when it is not there."""
    program = next(program for program in missing if program.package == package)
    try:
        name = apt.file_name(package)
        if not offers(program, name):
            return f"Debian {apt.suite} offers {name}"
        print(f"  downloading {name} ...", flush=True)
        for library in program.libraries:
            apt.download(library, CACHE)
        deb = apt.download(package, CACHE)
    except AptError as error:
        return f"Debian {apt.suite}: {error}"
    return None if from_package(program, deb) else f"{program.name} of {name} does not run on this machine"


def complaint(missing: list[Program], reasons: list[str]) -> str:
    wanted = "\n".join(f"  {program.name}: {program.versions.words}" for program in missing)
    why = "\n".join(f"  {reason}" for reason in reasons)
    return (
        f"make tools: these programs are missing:\n{wanted}\n"
        f"They come from Debian's packages on any Debian 12 or newer, which did not work here:\n{why}\n"
        "Put the programs on PATH (any way of installing them will do) and run `make tools` again."
    )


def report() -> None:
    with ThreadPoolExecutor() as pool:
        versions = pool.map(lambda program: program.version(BIN / program.name), PROGRAMS)
    for program, version in zip(PROGRAMS, versions, strict=True):
        path = (BIN / program.name).resolve()
        words = ".".join(map(str, version)) if version else "is not here"
        print(f"  {program.name:<25} {words:<8} {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")


def main() -> int:
    """Give 0 when every program is in .tools/bin, 1 when one is missing, with the reasons on stderr."""
    for folder in (BIN, CACHE):
        folder.mkdir(parents=True, exist_ok=True)
    with (TOOLS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two `make` runs in one clone take turns
        with ThreadPoolExecutor() as pool:
            ready = list(pool.map(in_place, PROGRAMS))
        missing = [program for program, found in zip(PROGRAMS, ready, strict=True) if not found]
        missing = [program for program in missing if not (from_path(program) or from_cache(program))]
        missing, reasons = from_debian(missing)
        if lacking := [program for program in missing if program.needed]:
            print(complaint(lacking, reasons), file=sys.stderr)
            return 1
        for program in missing:
            print(f"  {program.name} is not to be had here: `make faults` leaves out what it takes it for")
        report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
