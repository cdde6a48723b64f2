"""Relays in a process of their own: `python -m drills.relay CONTROL TLS ENDPOINT…`; see drills.relay.apart."""

import argparse
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from drills.relay.apart import Order, Told, as_tls
from drills.relay.relay import Relay


def main(arguments: Sequence[str] | None = None) -> None:
    """Until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("control", type=Path, help="the Unix socket that takes orders")
    parser.add_argument("tls", help="the certificates, as JSON")
    parser.add_argument("endpoints", nargs="+")
    given = parser.parse_args(arguments)
    with ExitStack() as exits:
        relays = [exits.enter_context(Relay(endpoint, tls=as_tls(given.tls))) for endpoint in given.endpoints]
        listener = exits.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(given.control))
        listener.listen()
        while True:
            line, _ = listener.accept()
            with line, line.makefile("rwb") as stream:
                order = msgspec.json.decode(stream.readline(), type=Order)
                stream.write(msgspec.json.encode(_obey(relays, order)) + b"\n")


def _obey(relays: Sequence[Relay], order: Order) -> Told:
    if order.fault is not None:
        for relay in relays:
            relay.set(order.fault)
    severed = sum(relay.sever() for relay in relays) if order.sever else 0
    return Told(tuple(relay.url for relay in relays), severed)


if __name__ == "__main__":
    main()
