"""ansible-runner that ends with whoever started it: ``python -P bound.py PARENT ARGUMENTS``, by its path.

It is told to by the kernel, also where the parent is killed, and ends Ansible as it does when its time is over. What a
module has begun on a host goes on there, and holds its lock until it has ended.

ansible-runner kills Ansible, whose workers are in sessions of their own and would go on, and their ssh with them: what
they have not said to a host yet they would say minutes later. Orphaned they are children of this process, and it ends
them.
"""

import ctypes
import os
import runpy
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE = 2.0


def _workers() -> set[int]:
    """Ansible's that are orphaned and have not ended. What was restarted on this very host may be our child, too."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            ours = int(parent) == os.getpid() and b"ansible-playbook" in (folder / "cmdline").read_bytes()
            if ours and state != "Z":
                found.add(int(folder.name))
    return found


def _end_workers() -> None:
    """Each ends its session when it is told to, which is that of its ssh. A restart that goes on does not heed that."""
    workers = _workers()
    if not workers:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in workers & _workers():
            with suppress(OSError):  # ended meanwhile, or became somebody else's: the others are ended all the same
                os.kill(pid, number)
        gives_up = time.monotonic() + _PATIENCE
        while workers & _workers() and time.monotonic() < gives_up:
            time.sleep(0.02)
    for pid in workers:
        with suppress(OSError):
            os.killpg(pid, signal.SIGTERM)


if __name__ == "__main__":
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    library.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != int(sys.argv.pop(1)):  # it went before the kernel was told
        sys.exit(1)
    try:
        runpy.run_module("ansible_runner", run_name="__main__", alter_sys=True)
    finally:
        _end_workers()
