"""ansible-runner that ends with whoever started it: ``python -P bound.py PARENT ARGUMENTS``, by its path.

It is told to by the kernel, also where the parent is killed, and ends Ansible as it does when its time is over. What a
module has begun on a host goes on there, and holds its lock until it has ended.

ansible-runner kills Ansible, whose workers are in sessions of their own and would go on, and their ssh with them: what
they have not said to a host yet they would say minutes later. Orphaned they are children of this process, and it ends
them. They are told by a mark in their environment, which ``ballast_apiserver`` takes from what restarts an apiserver:
on this very host that may be a playbook of the site's own, and our child.
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
_MARK = "BALLAST_ANSIBLE"
_NAMES = {"ansible-playboo", "ssh", "sshpass"}
"""As the kernel has them, which keeps 15 characters. A module on this very host has the mark too, and goes on."""


def _workers() -> set[int]:
    """Ansible's, and their ssh's, that are orphaned and have not ended."""
    mark, found = f"{_MARK}={os.getpid()}".encode(), set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name, _, status = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            state, parent = status.split()[:2]
            ours = int(parent) == os.getpid() and mark in (folder / "environ").read_bytes().split(b"\0")
            if ours and state != "Z" and name in _NAMES:
                found.add(int(folder.name))
    return found


def _end_workers() -> None:
    """Each ends its session when it is told to; an ssh that it leaves is the next. A restart does not heed that."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        told: set[int] = set()
        gives_up = time.monotonic() + _PATIENCE
        while (workers := _workers()) and time.monotonic() < gives_up:
            for pid in workers - told:
                with suppress(OSError):  # ended meanwhile, or became somebody else's: the others are ended all the same
                    os.kill(pid, number)
            told |= workers
            time.sleep(0.02)


if __name__ == "__main__":
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    library.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != int(sys.argv.pop(1)):  # it went before the kernel was told
        sys.exit(1)
    os.environ[_MARK] = str(os.getpid())
    try:
        runpy.run_module("ansible_runner", run_name="__main__", alter_sys=True)
    finally:
        _end_workers()
