"""Builds kube-apiserver, kube-controller-manager, kwok and etcd 3.6 for the end-to-end tests, into .tools/bin.

    python -m tools.gobuild                   # what the end-to-end tests need
    python -m tools.gobuild kubernetes-1.33   # one module of tools/, here an older apiserver

Run by `make tools-e2e` and `make tools-e2e MODULES=kubernetes-1.33`; needs Go. Binaries are kept in the user's cache
under a digest of all that decides what they are, so that a second run, also in a fresh clone, finds everything built.
Nothing is installed on the system.
"""

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.fetch import CACHE_HOME, link
from tools.gomodules import MODULES, GoError, GoModule, GoProgram, go

CACHE = CACHE_HOME / "go"
REPORT_SECONDS = 15.0
ENVIRONMENT = {
    "CGO_ENABLED": "0",
    # What go.mod asks for is what builds it: no other toolchain is fetched behind the caller's back.
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
}


def installed_go() -> str:
    """The version of Go on PATH, such as `1.26.8`. Raises `GoError`."""
    said = go("env", "GOVERSION", env=ENVIRONMENT, timeout=60)
    found = re.match(r"go(\d+\.\d+(?:\.\d+)?)", said)
    if found is None:
        raise GoError(f"the go on PATH says that its version is {said.strip()!r}")
    return found[1]


def check_language(module: GoModule, have: str) -> None:
    """Raise `GoError` when Go is too old for the module."""
    if numbers(have) < numbers(module.language):
        raise GoError(f"the go on PATH is {have}, and {module.path} {module.version} needs {module.language} or newer")


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def digest(module: GoModule, go_version: str) -> str:
    """Of all that decides what is built: the pinned sources, Go and this recipe."""
    parts = [(module.folder / file).read_bytes() for file in ("go.mod", "go.sum")]
    parts += [f"{go_version} {platform.machine()} {module.programs} {link_flags(module)} {module.beside}".encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def link_flags(module: GoModule) -> str:
    """No debugging symbols, and the version, which only their own release builds would know."""
    major, minor = module.version.removeprefix("v").split(".")[:2]
    stamps = (stamp.format(version=module.version, major=major, minor=minor) for stamp in module.stamps)
    return " ".join(("-s -w", *(f"-X {stamp}" for stamp in stamps)))


def provide(module: GoModule) -> Path:
    """The folder in the cache with the module's programs, built when they are not there. Raises `GoError`."""
    go_version = installed_go()
    kept = CACHE / f"{module.name}-{module.version}-{digest(module, go_version)}"
    if kept.exists():
        return kept
    check_language(module, go_version)
    with TemporaryDirectory(dir=CACHE, prefix=".build-") as name:
        fresh = Path(name) / "content"
        fresh.mkdir()
        for program in module.programs:
            build(module, program, fresh)
        if module.beside is not None:
            copy_yaml(module, module.beside, fresh)
        # Renamed when whole, so that neither a failed build nor an interrupted one leaves half of it.
        fresh.rename(kept)
    return kept


def copy_yaml(module: GoModule, folder: str, into: Path) -> None:
    """Copy the YAML files of the module's folder, under the folder's last name. Raises `GoError`."""
    downloaded = json.loads(go("mod", "download", "-json", module.path, folder=module.folder, timeout=600))
    source = Path(downloaded["Dir"], folder)
    for file in source.rglob("*.yaml"):
        target = into / source.name / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not its mode: Go's copies are read-only.
        shutil.copyfile(file, target)


def build(module: GoModule, program: GoProgram, into: Path) -> None:
    """Build one program and say how far it is. Raises `GoError` with the compiler's words."""
    print(f"  {program.name} {module.version}: reading its sources ...", flush=True)
    packages = go(
        "list", "-mod=readonly", "-deps", program.package, folder=module.folder, env=ENVIRONMENT, timeout=1200
    )
    total, started = packages.count("\n"), time.monotonic()
    argv = ("go", "build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", link_flags(module))
    said: list[str] = []
    with subprocess.Popen(
        (*argv, "-o", str(into / program.name), program.package),
        cwd=module.folder,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for count in ticks(process.stderr, said):
            seconds = time.monotonic() - started
            print(f"  {program.name}: {count} of at most {total} packages compiled, {seconds:.0f} s", flush=True)
    if process.returncode != 0:
        raise GoError(f"{program.name} {module.version} does not build:\n" + "".join(said[-20:]).rstrip())
    print(f"  {program.name}: built in {time.monotonic() - started:.0f} s", flush=True)


def ticks(lines: Iterator[str], said: list[str]) -> Iterator[int]:
    """Keep the lines; give how many have come, now and then."""
    last = time.monotonic()
    for line in lines:
        said.append(line)
        if time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            yield len(said)


def install(module: GoModule) -> None:
    """Put the module's programs into .tools/bin. Raises `GoError`."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f".{module.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs take turns, also those of two clones
        kept = provide(module)
    for program in module.programs:
        link(program.name, kept / program.name)
        print(f"  {program.name:<25} {module.version.removeprefix('v'):<8} {kept / program.name}")


def main() -> int:
    """Give 0 when the programs are in .tools/bin, 1 with the reason on stderr when one is not."""
    modules = {module.name: module for module in MODULES}
    names = sys.argv[1:] or [module.name for module in MODULES if not module.on_demand]
    if unknown := set(names) - modules.keys():
        print(f"tools/ has no module {', '.join(sorted(unknown))}; there are {', '.join(modules)}", file=sys.stderr)
        return 2
    try:
        for name in names:
            install(modules[name])
    except GoError as error:
        print(
            f"make tools-e2e: {error}\n"
            "The end-to-end tests need these programs of Kubernetes, kwok and etcd; they are built from Go modules.\n"
            "Put Go in a good version on PATH (https://go.dev/dl) and run `make tools-e2e` again.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
