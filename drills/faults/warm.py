"""A process that has imported everything, and becomes a remediator whenever `drills.faults.starter` asks for one.

A remediator is killed and started again a thousand times in `make faults`, and most of a start is Python's imports.
Each one that is asked for is a fork of this process: in the process group and with the outputs of whoever asks.
"""

import array
import json
import os
import selectors
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final

from drills.faults import program

REQUEST_BYTES: Final = 1 << 16
OUTPUTS: Final = 2


def main() -> None:
    """Serves the socket of its argument until it is killed. It has one thread, so that its forks are whole."""
    path = Path(sys.argv[1])
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    selector = selectors.DefaultSelector()
    selector.register(listening, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listening:
                asking, _ = listening.accept()
                child = _fork(asking, listening)
                asking.sendall(child.to_bytes(4))
                selector.register(os.pidfd_open(child), selectors.EVENT_READ, (child, asking))
            else:
                child, asking = key.data
                selector.unregister(key.fileobj)
                os.close(key.fd)
                _tell(asking, os.waitpid(child, 0)[1])


def _fork(asking: socket.socket, *others: socket.socket) -> int:
    content, ancillary, _, _ = asking.recvmsg(REQUEST_BYTES, socket.CMSG_SPACE(OUTPUTS * 4))
    while not content.endswith(b"\n"):
        content += asking.recv(REQUEST_BYTES)
    request = json.loads(content)
    outputs = array.array("i")
    outputs.frombytes(ancillary[0][2][: OUTPUTS * 4])
    child = os.fork()
    if child == 0:
        for each in (asking, *others):
            each.close()
        _become(request, outputs)
    for output in outputs:
        os.close(output)
    return child


def _become(request: dict[str, Any], outputs: "array.array[int]") -> None:
    """A remediator, until its end."""
    os.setpgid(0, request["group"])
    for number, output in enumerate(outputs, start=1):
        os.dup2(output, number)
        os.close(output)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.update(request["environment"])
    sys.argv = ["ballast-remediator", *request["arguments"]]
    code = 1
    try:
        program.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tell(asking: socket.socket, status: int) -> None:
    with asking:
        try:
            asking.sendall(status.to_bytes(4))
        except OSError:
            return  # whoever asked was killed with it


if __name__ == "__main__":
    main()
