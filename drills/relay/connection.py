"""One connection of an apiserver through the relay: two directions of frames, and what is known of it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from drills.relay.frames import CANCEL, PREFACE, PROTOCOL_ERROR, Frame, Type, pong, read, reset, window
from drills.relay.modes import Fault, Mode

CANCEL_SECONDS: Final = 2.0
"""How long etcd works on a request whose stream was reset."""


class Side:
    """One end: the frames that come from it go, in their order and when they may, to the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.waiting: asyncio.Queue[tuple[float, Frame]] = asyncio.Queue()

    def send(self, frame: Frame) -> None:
        self.writer.write(frame.raw)


class Connection:
    """``fault`` gives what holds now for this connection; ``changed`` wakes what waits for another."""

    def __init__(self, client: Side, server: Side, fault: "Callable[[Connection], Fault]") -> None:
        self._client, self._server = client, server
        self._fault_of = fault
        self._changed = asyncio.Event()
        self._watches: set[int] = set()
        self._cancelling: set[asyncio.Task[None]] = set()
        self.resource: str | None = None
        self.dropped = 0
        """Bytes of watch answers that were lost."""

    @property
    def fault(self) -> Fault:
        return self._fault_of(self)

    def changed(self) -> None:
        """Another fault may hold now."""
        self._changed.set()
        self._changed = asyncio.Event()

    def abort(self) -> None:
        """Cut both ends at once; what waits is lost."""
        for side in (self._client, self._server):
            side.writer.transport.abort()

    async def run(self) -> None:
        """Until one end is gone, or this is cancelled."""
        try:
            preface = await self._client.reader.readexactly(len(PREFACE))
            self._server.writer.write(preface)
            parts = (
                self._take(self._client, self._server),
                self._give(self._client, self._server),
                self._take(self._server, self._client),
                self._give(self._server, self._client),
            )
            tasks = [asyncio.ensure_future(part) for part in parts]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (*tasks, *self._cancelling):
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.abort()

    async def _take(self, source: Side, other: Side) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await read(source.reader)
                if source is self._client:
                    self._learn(frame)
                if not self._overtakes(frame, source, other):
                    fault = self.fault
                    delay = fault.seconds if fault.mode is Mode.SLOW else 0.0
                    source.waiting.put_nowait((loop.time() + delay, frame))

    async def _give(self, source: Side, other: Side) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while True:
                due, frame = await source.waiting.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                while self.fault.mode in {Mode.MUTE, Mode.BLACKHOLE}:
                    await self._changed.wait()
                if source is self._server and self._drops(frame):
                    continue
                other.send(frame)
                await other.writer.drain()
                if source is self._client and frame.type == Type.HEADERS and self.fault.mode is Mode.RESET:
                    self._reset(frame.stream)

    def _learn(self, frame: Frame) -> None:
        if self.resource is None:
            self.resource = frame.resource
        if frame.begins_watch:
            self._watches.add(frame.stream)

    def _overtakes(self, frame: Frame, source: Side, other: Side) -> bool:
        """What a mute connection still answers: that is what makes it look alive."""
        if self.fault.mode is not Mode.MUTE:
            return False
        if frame.type == Type.PING and not frame.is_ack:
            source.send(pong(frame))
            return True
        if frame.type in {Type.PING, Type.SETTINGS}:
            other.send(frame)
            return True
        return False

    def _drops(self, frame: Frame) -> bool:
        if self.fault.mode is not Mode.DROP_WATCH or frame.type != Type.DATA or frame.stream not in self._watches:
            return False
        if frame.payload:  # etcd must be able to go on, or it would notice that nobody reads
            self.dropped += len(frame.payload)
            for stream in (frame.stream, 0):
                self._server.send(window(stream, len(frame.payload)))
        return True

    def _reset(self, stream: int) -> None:
        self._client.send(reset(stream, PROTOCOL_ERROR))
        task = asyncio.ensure_future(self._cancel(stream))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def _cancel(self, stream: int) -> None:
        await asyncio.sleep(CANCEL_SECONDS)
        self._server.send(reset(stream, CANCEL))
