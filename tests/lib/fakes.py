"""Servers that misbehave on purpose, on loopback."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from types import TracebackType
from typing import Self

import grpc

from kube_ballast.clients.etcd import rpc_pb2


class FakeMember(grpc.GenericRpcHandler):
    """An etcd member that answers Snapshot with ``blobs`` and then, as every other call, with an error."""

    def __init__(
        self, code: grpc.StatusCode = grpc.StatusCode.OK, details: str = "", blobs: Sequence[bytes] = ()
    ) -> None:
        self._code = code
        self._details = details
        self._blobs = blobs
        self.calls: list[str] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((self,))
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(None).wait()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        method = str(handler_call_details.method)
        self.calls.append(method.rpartition("/")[2])
        if method.endswith("/Snapshot"):
            return grpc.unary_stream_rpc_method_handler(self._snapshot)
        return grpc.unary_unary_rpc_method_handler(self._refuse)

    def _snapshot(self, _request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for blob in self._blobs:
            yield rpc_pb2.SnapshotResponse(blob=blob).SerializeToString()
        if self._code is not grpc.StatusCode.OK:
            context.abort(self._code, self._details)

    def _refuse(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(self._code, self._details)


class RawServer:
    """A TCP server that hands each connection, after its request's head has been read, to ``answer``."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self.ended = threading.Event()
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self.requests.append(self._head(connection))
                    self._answer(connection)
                except OSError:
                    pass
                finally:
                    self.ended.set()

    @staticmethod
    def _head(connection: socket.socket) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            piece = connection.recv(65536)
            if not piece:
                break
            received += piece
        return received

    def trickle(self, connection: socket.socket, first: bytes, then: bytes) -> None:
        """Sends ``first``, then ``then`` again and again, slowly, until the client goes or the test ends."""
        connection.sendall(first)
        while not self.stopping.wait(0.02):
            connection.sendall(then)


def http(status: str, body: bytes, *headers: str) -> bytes:
    """A whole HTTP answer."""
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers))
    return head.encode() + b"\r\n" + body
