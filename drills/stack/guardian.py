"""The guardian: a small process that ends a stack's components when the stack's own process is gone.

The stack writes lines to it: `+PID` (a process group was started), `-PID` (it ended), `/PATH` (a disk was mounted
there), `keep` (leave the folder). When the pipe closes, for whatever reason, `kill -9` included, the guardian kills
every group that is left, unmounts the disks and removes the folder. It lives in a session of its own, so that Ctrl-C
on a terminal does not reach it.

Chosen over `PR_SET_PDEATHSIG`, which fires when the starting *thread* ends, not the process, and does not reach
the components' own children.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path


class Guardian:
    """The stack's end of the pipe. A child forked without exec holds it too, and delays the guardian's work."""

    def __init__(self, folder: Path) -> None:
        """Start the guardian of that folder; takes some 15 ms, in the background."""
        self._process = subprocess.Popen(
            (sys.executable, "-I", "-S", __file__, str(folder)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        """From now on the group ends with the stack; `BrokenPipeError` when the guardian itself was killed."""
        self._say(f"+{group}")

    def forget(self, group: int) -> None:
        """The group has ended, its number may soon be somebody else's."""
        with contextlib.suppress(BrokenPipeError):  # a dead guardian must not stop the others' end
            self._say(f"-{group}")

    def unmount(self, path: Path) -> None:
        """In the end; `path` is absolute."""
        self._say(str(path))

    def keep_folder(self) -> None:
        """Leave the folder where it is."""
        with contextlib.suppress(BrokenPipeError):
            self._say("keep")

    def close(self) -> None:
        """Let it finish its work: end what is left, remove the folder."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(timeout=30)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def end(groups: set[int], *, within: float) -> None:
    """Kill the groups and wait until they are gone, so that they write nothing any more."""
    for group in groups:
        if group_exists(group):
            os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + within
    while any(map(group_exists, groups)) and time.monotonic() < deadline:
        time.sleep(0.01)


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    folder, groups, disks, keep = Path(sys.argv[1]), set[int](), list[str](), False
    for line in sys.stdin:
        word = line.strip()
        if word == "keep":
            keep = True
        elif word.startswith("/"):
            disks.append(word)
        elif word.startswith("+"):
            groups.add(int(word[1:]))
        else:
            groups.discard(int(word[1:]))
    end(groups, within=5.0)
    for disk in disks:
        # Lazily: whoever still has a file open on it keeps that until it ends.
        subprocess.run(("umount", "--lazy", disk), check=False, timeout=20)
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
