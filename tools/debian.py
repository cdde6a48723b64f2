"""Debian packages for this project alone: apt with its own lists, state and cache, as any user.

Nothing of the system is written: apt gets a configuration of its own through `APT_CONFIG`. What it takes from
the machine are its `Acquire` settings (proxies, validity checks) and the address of its Debian mirror; both
stay in a temporary folder.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

DEBIAN_SUITES = "bullseye|bookworm|trixie|forky|sid|oldoldstable|oldstable|stable|testing|unstable"
KEYRINGS = tuple(Path(f"/usr/share/keyrings/debian-archive-keyring.{kind}") for kind in ("pgp", "gpg"))

SYSTEM_STATUS = Path("/var/lib/dpkg/status")

APT_CONF = """\
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
{acquire}
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
"""


SHARE = "/usr/share/prometheus"
RELOCATED_SHARE = "/proc/self/fd/9".ljust(len(SHARE), "/")
WRAPPER = """\
#!/bin/sh
# Debian's build reads its templates below /usr/share/prometheus; this copy reads them below file descriptor 9.
content=$(dirname "$(dirname "$(readlink -f "$0")")")
exec 9<"$content/usr/share/prometheus"
exec "$content/relocated/{name}.bin" "$@"
"""


class AptError(Exception):
    """Why no package came, in words; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Apt:
    """Package lists of one suite, read by apt alone. Every call raises `AptError`."""

    suite: str
    folder: Path

    def file_name(self, package: str) -> str:
        """The file the suite offers now, such as `etcd-server_3.5.30-2_amd64.deb`."""
        line = self._run("apt-get", "download", "--print-uris", package, timeout=60)
        return line.split("' ", 1)[1].split(" ", 1)[0]

    def download(self, package: str, into: Path) -> Path:
        """Fetch the package into the folder; apt checks it against the archive's signature."""
        name = self.file_name(package)
        with TemporaryDirectory(dir=into, prefix=".download-") as folder:
            self._run("apt-get", "-qq", "download", package, timeout=600, cwd=Path(folder))
            # Renamed when whole, so that neither a broken download nor a second clone leaves half a file.
            return (Path(folder) / name).replace(into / name)

    def download_with_dependencies(self, package: str) -> list[Path]:
        """Fetch the package and what it needs that this system has not; the files end with this object.

        The suite should be the system's own: its packages are taken to be installed.
        """
        shutil.copy(SYSTEM_STATUS, self.folder / "status")
        self._run(
            *("apt-get", "-qq", "--assume-yes", "--no-install-recommends", "--download-only"),
            *("-o", "Debug::NoLocking=true", "install", package),
            timeout=1200,
        )
        return sorted((self.folder / "cache" / "archives").glob("*.deb"))

    def _run(self, *argv: str, timeout: float, cwd: Path | None = None) -> str:
        return _run(*argv, timeout=timeout, cwd=cwd, env={"APT_CONFIG": str(self.folder / "apt.conf")})


@contextmanager
def private_apt(suite: str, scratch: Path) -> Iterator[Apt]:
    """Lists of the suite, fresh from the first of the machine's Debian mirrors that carries it."""
    keyring = next((path for path in KEYRINGS if path.exists()), None)
    if keyring is None:
        raise AptError("the Debian archive's keys are missing: install the package debian-archive-keyring")
    reasons = []
    for mirror in mirrors():
        with TemporaryDirectory(dir=scratch, prefix=".apt-") as name:
            apt = Apt(suite, Path(name))
            _configure(apt.folder, f"deb [signed-by={keyring}] {mirror} {suite} main\n")
            try:
                apt._run("apt-get", "-qq", "update", timeout=300)  # noqa: SLF001 - the class's own constructor
            except AptError as error:
                reasons.append(str(error))
                continue
            yield apt
            return
    raise AptError("; ".join(reasons) or "apt's sources name no Debian mirror")


def mirrors() -> list[str]:
    """The Debian archives in the machine's own sources, in order.

    apt itself reads them, so every format it knows is understood. Suites and paths of other vendors are left
    out; what might still slip through fails the check against Debian's keys.
    """
    found = re.findall(
        rf"^'(\S+)/dists/(?:{DEBIAN_SUITES})/main/binary-",
        _run("apt-get", "update", "--print-uris", timeout=60),
        re.MULTILINE,
    )
    debian = re.compile(r"/debian(?!-security)[^/]*(/\d{8}T\d{6}Z)?/?$")
    return [uri for uri in dict.fromkeys(found) if debian.search(uri)]


def unpack_together(debs: list[Path], into: Path) -> None:
    """Unpack the files of all packages into one folder, as an installation would lay them."""
    into.mkdir(parents=True)
    for deb in debs:
        _run("dpkg-deb", "-x", str(deb), str(into), timeout=300)


def unpack(deb: Path, into: Path) -> None:
    """Unpack the package's files into a folder that must not exist yet."""
    with TemporaryDirectory(dir=into.parent, prefix=".unpack-") as folder:
        content = Path(folder) / "content"
        _run("dpkg-deb", "-x", str(deb), str(content), timeout=300)
        content.rename(into)


def relocate(content: Path, name: str) -> Path:
    """Give a program of unpacked content that finds its own files there; the program itself if it needs none.

    Debian takes the templates out of Alertmanager and reads them from /usr/share, where nothing may be written.
    The path stands in the program as plain bytes, so a path of the same length takes its place in a copy.
    """
    program = content / "usr" / "bin" / name
    code = program.read_bytes()
    if SHARE.encode() not in code:
        return program
    wrapper, copy = content / "relocated" / name, content / "relocated" / f"{name}.bin"
    copy.parent.mkdir(exist_ok=True)
    for path, text in (
        (copy, code.replace(SHARE.encode(), RELOCATED_SHARE.encode())),
        (wrapper, WRAPPER.format(name=name).encode()),
    ):
        path.write_bytes(text)
        path.chmod(0o755)
    return wrapper


def _configure(folder: Path, sources: str) -> None:
    dump = _run("apt-config", "dump", timeout=60)
    acquire = "\n".join(line for line in dump.splitlines() if line.startswith("Acquire::"))
    for needed in ("state/lists/partial", "cache/archives/partial"):
        (folder / needed).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(sources)
    (folder / "apt.conf").write_text(APT_CONF.format(folder=folder, acquire=acquire))


def _run(*argv: str, timeout: float, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            timeout=timeout,
            check=False,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise AptError(f"there is no {argv[0]} on this machine") from None
    except subprocess.TimeoutExpired:
        raise AptError(f"`{' '.join(argv)}` gave no answer in {timeout:.0f} s") from None
    if done.returncode != 0:
        said = " ".join(line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg")))
        raise AptError(f"`{' '.join(argv)}` failed: {said or done.stderr.strip()}")
    return done.stdout
