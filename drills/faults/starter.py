"""Asks a warm process (`drills.faults.warm`) for a remediator in this one's process group, and ends as that one does.

Run as a script, without site-packages: the arguments are the warm process' socket and the remediator's own.
"""

import array
import json
import os
import signal
import socket
import sys

PID_LENGTH = 4


def main() -> int:
    """The remediator's exit code, or 128 and the signal that ended it."""
    where, *arguments = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as warm:
        warm.connect(where)
        request = json.dumps({"arguments": arguments, "group": os.getpgid(0), "environment": dict(os.environ)})
        outputs = array.array("i", [1, 2])
        warm.sendmsg([request.encode() + b"\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, outputs)])
        child = int.from_bytes(warm.recv(PID_LENGTH, socket.MSG_WAITALL))
        signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
        status = int.from_bytes(warm.recv(PID_LENGTH, socket.MSG_WAITALL))
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
