"""What each of the relay's modes lets through, frame by frame, between a client and a server that only note frames."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from drills.relay import PASS, Fault, Mode, Relay, RelayTLS
from drills.relay.apart import RelayProcess
from drills.relay.frames import ACK, CANCEL, PREFACE, PROTOCOL_ERROR, Frame, Type
from drills.stack import Stack
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.etcd.client import EtcdClient
from tests.waiting import eventually

SECONDS = 5.0
HEADERS, PING, SETTINGS = (
    Frame(Type.HEADERS, 0x4, 1, b"head"),
    Frame(Type.PING, 0, 0, b"12345678"),
    Frame(Type.SETTINGS, 0, 0, b""),
)
LIST = Frame(Type.DATA, 0x1, 1, b"\x00\x00\x00\x00\x18\x0a\x16/registry/configmaps/x")
WATCH = Frame(Type.DATA, 0x0, 3, b"\x00\x00\x00\x00\x1a\x0a\x18\x0a\x16/registry/configmaps/x")
NEWS = Frame(Type.DATA, 0x0, 3, b"\x00\x00\x00\x00\x01x")


class End:
    """One end of a connection: notes each frame that comes."""

    def __init__(self, line: socket.socket, *, preface: bool = False) -> None:
        self.line = line
        self.frames: list[Frame] = []
        self.closed = threading.Event()
        self._preface = preface
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, *frames: Frame) -> None:
        self.line.sendall(b"".join(frame.raw for frame in frames))

    def got(self, *frames: Frame) -> bool:
        return self.frames[: len(frames)] == list(frames)

    def _read(self) -> None:
        try:
            with self.line.makefile("rb") as stream:
                if self._preface:
                    assert stream.read(len(PREFACE)) == PREFACE
                while head := stream.read(9):
                    payload = stream.read(int.from_bytes(head[:3], "big"))
                    self.frames.append(Frame(head[3], head[4], int.from_bytes(head[5:], "big"), payload))
        except OSError:
            pass
        self.closed.set()


class Ends:
    """A relay before a server, and who comes through it."""

    def __init__(self, relay: Relay, listener: socket.socket, exits: ExitStack) -> None:
        self.relay, self.listener, self._exits = relay, listener, exits

    def connect(self) -> tuple[End, End]:
        before = sum(self.relay.connections().values())
        ends = End(self.dial()), End(self.accept(), preface=True)
        eventually(lambda: sum(self.relay.connections().values()) > before)  # else it is not old for what comes
        return ends

    def dial(self) -> socket.socket:
        line = self._exits.enter_context(socket.create_connection(_address(self.relay), SECONDS))
        line.sendall(PREFACE)
        return line

    def accept(self) -> socket.socket:
        return self._exits.enter_context(self.listener.accept()[0])


def _address(relay: Relay) -> tuple[str, int]:
    return "127.0.0.1", int(relay.url.rpartition(":")[2])


@pytest.fixture
def ends() -> Iterator[Ends]:
    with ExitStack() as exits:
        listener = exits.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(SECONDS)
        relay = exits.enter_context(Relay(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        yield Ends(relay, listener, exits)


def test_pass_changes_nothing(ends: Ends) -> None:
    client, server = ends.connect()
    client.send(SETTINGS, HEADERS, LIST)
    server.send(PING)
    eventually(lambda: server.got(SETTINGS, HEADERS, LIST) and client.got(PING))
    assert ends.relay.connections() == {"configmaps": 1}


def test_mute_answers_pings_itself_passes_settings_and_holds_the_rest_in_its_order(ends: Ends) -> None:
    client, server = ends.connect()
    ends.relay.set(Fault(Mode.MUTE))
    client.send(HEADERS, LIST, PING, SETTINGS)
    eventually(lambda: client.got(Frame(Type.PING, ACK, 0, PING.payload)) and server.got(SETTINGS))
    assert server.frames == [SETTINGS]

    ends.relay.set(PASS)
    eventually(lambda: server.got(SETTINGS, HEADERS, LIST))


def test_a_resource_is_mute_alone(ends: Ends) -> None:
    sick, sick_server = ends.connect()
    sick.send(LIST)
    eventually(lambda: sick_server.got(LIST))
    well, well_server = ends.connect()
    ends.relay.set(Fault(Mode.MUTE, resource="configmaps"))
    sick.send(HEADERS)
    well.send(HEADERS, PING)
    eventually(lambda: well_server.got(HEADERS, PING))
    assert sick_server.frames == [LIST]


def test_blackhole_answers_no_ping_and_takes_no_new_connection(ends: Ends) -> None:
    client, server = ends.connect()
    ends.relay.set(Fault(Mode.BLACKHOLE))
    client.send(PING)
    ends.dial()
    ends.listener.settimeout(0.3)
    with pytest.raises(TimeoutError):
        ends.accept()
    assert (client.frames, server.frames) == ([], [])

    ends.listener.settimeout(SECONDS)
    ends.relay.set(PASS)
    eventually(lambda: server.got(PING))
    assert ends.accept()


def test_reset_lets_the_request_reach_the_server_and_cancels_it_later(ends: Ends) -> None:
    client, server = ends.connect()
    ends.relay.set(Fault(Mode.RESET))
    client.send(HEADERS)
    eventually(lambda: client.got(Frame(Type.RST_STREAM, 0, 1, PROTOCOL_ERROR.to_bytes(4, "big"))))
    eventually(lambda: server.got(HEADERS, Frame(Type.RST_STREAM, 0, 1, CANCEL.to_bytes(4, "big"))))


def test_drop_watch_loses_what_is_said_on_watches_alone_and_cuts_them_on_release(ends: Ends) -> None:
    client, server = ends.connect()
    client.send(WATCH)
    eventually(lambda: server.got(WATCH))
    ends.relay.set(Fault(Mode.DROP_WATCH))
    answer = Frame(Type.DATA, 0, 1, b"answer")
    server.send(NEWS, answer)
    eventually(lambda: client.got(answer))
    eventually(lambda: [frame.type for frame in server.frames[1:]] == [Type.WINDOW_UPDATE] * 2)

    ends.relay.set(PASS)
    assert client.closed.wait(SECONDS)


def test_with_only_the_old_ones_mute_a_new_connection_passes(ends: Ends) -> None:
    old, old_server = ends.connect()
    ends.relay.set(Fault(Mode.MUTE, only_old=True))
    new, new_server = ends.connect()
    old.send(HEADERS)
    new.send(HEADERS)
    eventually(lambda: new_server.got(HEADERS))
    assert old_server.frames == []


def test_sever_cuts_both_ends_of_all(ends: Ends) -> None:
    pairs = [ends.connect(), ends.connect()]
    eventually(lambda: sum(ends.relay.connections().values()) == 2)
    assert ends.relay.sever() == 2
    for client, server in pairs:
        assert client.closed.wait(SECONDS)
        assert server.closed.wait(SECONDS)


def test_tls_is_spoken_on_both_sides_and_a_stranger_is_let_in_on_neither(session_stack: Stack) -> None:
    etcd = session_stack.etcd(tls=True)
    assert etcd.authority is not None
    assert etcd.tls is not None
    tls = RelayTLS(etcd.authority.issue("relay"), etcd.authority.issue("relay-client"))
    with Relay(etcd.endpoints[0], tls=tls) as relay:
        context = ssl.create_default_context(cafile=etcd.tls.ca)
        context.set_alpn_protocols(["h2"])
        assert not _first_byte(relay, context)
        assert etcd.tls.cert is not None
        context.load_cert_chain(etcd.tls.cert, etcd.tls.key)
        assert _first_byte(relay, context)


def _first_byte(relay: Relay, context: ssl.SSLContext) -> bytes:
    """Of what the server says, empty where it turns the client away."""
    with (
        suppress(OSError),
        socket.create_connection(_address(relay), SECONDS) as line,
        context.wrap_socket(line, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(PREFACE + SETTINGS.raw)
        return client.recv(1)
    return b""


def test_relays_in_a_process_of_their_own_do_as_they_are_told(session_stack: Stack) -> None:
    etcd = session_stack.etcd(tls=True)
    assert etcd.authority is not None
    tls = RelayTLS(etcd.authority.issue("relay-2"), etcd.authority.issue("relay-2-client"))
    relays = RelayProcess(session_stack, etcd.endpoints * 2, tls)
    assert len(set(relays.urls)) == 2
    assert relays.sever() == 0
    relays.set(Fault(Mode.MUTE, resource="configmaps", only_old=True))
    with EtcdClient(relays.urls[0], tls=etcd.tls) as client:
        assert client.status(timeout=SECONDS)
    relays.set(Fault(Mode.BLACKHOLE))
    with EtcdClient(relays.urls[1], tls=etcd.tls) as client, pytest.raises(ClientError):
        client.status(timeout=1.0)
