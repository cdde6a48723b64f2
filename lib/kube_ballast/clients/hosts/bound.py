"""ansible-runner that ends with whoever started it: ``python -P bound.py PARENT ARGUMENTS``, by its path.

It is told to by the kernel, also where the parent is killed, and ends Ansible as it does when its time is over. What a
module has begun on a host goes on there, and holds its lock until it has ended.
"""

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(sys.argv.pop(1)):  # it went before the kernel was told
        sys.exit(1)
    runpy.run_module("ansible_runner", run_name="__main__", alter_sys=True)
