"""A Chromium to draw pictures with: PATH's own, else Debian's packages, unpacked below .tools.

Nothing is installed on the system. What Chromium needs of shared libraries and the system has not comes with it,
from the suite this system runs; about 200 MB to download and 700 MB on disk for a bare system.
"""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

from tools.debian import AptError, private_apt, unpack_together

TOOLS = Path(__file__).resolve().parent.parent / ".tools"
CONTENT = TOOLS / "debian" / "chromium"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WRAPPER = """\
#!/bin/sh
# Debian's Chromium, unpacked: its libraries lie beside it.
content=$(dirname "$(readlink -f "$0")")/content
machine=$(cd "$content/usr/lib" && echo *-linux-gnu*)
usr=$content/usr/lib/$machine
export LD_LIBRARY_PATH="$usr:$usr/nss:$usr/pulseaudio:$content/lib/$machine"
test -e /etc/fonts/fonts.conf || export FONTCONFIG_PATH="$content/etc/fonts"
exec "$content/usr/lib/chromium/chromium" "$@"
"""


class ChromiumError(Exception):
    """Why there is none, and what to do."""


def chromium() -> Path:
    """The program's path. Downloads it when there is none, once; raises `ChromiumError`."""
    for name in NAMES:
        found = shutil.which(name)
        if found is not None and runs(Path(found)):
            return Path(found)
    if runs(CONTENT / "chromium"):
        return CONTENT / "chromium"
    try:
        from_debian()
    except AptError as error:
        raise ChromiumError(_complaint(str(error))) from error
    if not runs(CONTENT / "chromium"):
        raise ChromiumError(_complaint(f"Debian's, unpacked below {CONTENT}, does not run on this machine"))
    return CONTENT / "chromium"


def runs(path: Path) -> bool:
    """Whether the program at the path starts here."""
    try:
        done = subprocess.run((path, "--version"), timeout=60, check=False, capture_output=True)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def from_debian() -> None:
    """Download and unpack Chromium and what this system lacks of its libraries. Raises `AptError`."""
    try:
        suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    except (OSError, KeyError):
        raise AptError("this is no Debian") from None
    print(f"reading the package lists of Debian {suite}, then downloading Chromium and its libraries ...", flush=True)
    fresh = CONTENT.with_name(".chromium")
    shutil.rmtree(fresh, ignore_errors=True)
    TOOLS.mkdir(exist_ok=True)
    with private_apt(suite, TOOLS) as apt:
        unpack_together(apt.download_with_dependencies("chromium"), fresh / "content")
    (fresh / "chromium").write_text(WRAPPER)
    (fresh / "chromium").chmod(0o755)
    shutil.rmtree(CONTENT, ignore_errors=True)
    fresh.rename(CONTENT)


def _complaint(reason: str) -> str:
    return (
        f"there is no Chromium to draw with: {reason}\n"
        "Put chromium on PATH (on Debian: apt-get install chromium) and run it again."
    )


if __name__ == "__main__":
    try:
        print(chromium())
    except ChromiumError as error:
        sys.exit(str(error))
