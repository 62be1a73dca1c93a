"""Requests to the server behind the front: HTTP/1.1 on a Unix socket, or on a port of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import h11

_PIECE = 1 << 16


class UpstreamError(Exception):
    """The server does not answer, or breaks off."""


@dataclass
class UpstreamAnswer:
    """The head of an answer, and its body piece by piece."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]
    writer: asyncio.StreamWriter

    def close(self) -> None:
        """Close the connection; while the body comes, this tells the server to stop generating."""
        self.writer.close()

    async def read_all(self) -> bytes:
        """Return the whole body."""
        return b"".join([piece async for piece in self.pieces])


@dataclass(frozen=True)
class Upstream:
    """Where a server is.

    Args:
        path: Its Unix socket; empty if it has a port.
        port: Its port on 127.0.0.1.
        headers: Sent with each request, such as its own key.
    """

    path: str = ""
    port: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    async def send(self, method: str, target: str, body: bytes = b"") -> UpstreamAnswer:
        """Send a request; the connection is closed when the body of the answer was read, or is given up.

        Raises:
            UpstreamError: the server does not answer.
        """
        try:
            reader, writer = await self._connect()
        except OSError as error:
            raise UpstreamError(str(error)) from None
        pieces = self._exchange(reader, writer, method, target, body)
        head = await anext(pieces)
        assert isinstance(head, h11.Response)
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in head.headers}
        return UpstreamAnswer(head.status_code, headers, _only_bytes(pieces), writer)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.path:
            return await asyncio.open_unix_connection(self.path)
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        method: str,
        target: str,
        body: bytes,
    ) -> AsyncIterator[h11.Response | bytes]:
        """Yield the head of the answer, then its body."""
        state = h11.Connection(h11.CLIENT)
        told = {"host": "127.0.0.1", "connection": "close", "content-length": str(len(body))}
        if body:
            told["content-type"] = "application/json"
        headers = [(name, value) for name, value in {**told, **self.headers}.items()]
        try:
            writer.write(state.send(h11.Request(method=method, target=target, headers=headers)) or b"")
            writer.write(state.send(h11.Data(data=body)) or b"")
            writer.write(state.send(h11.EndOfMessage()) or b"")
            await writer.drain()
            while True:
                event = state.next_event()
                if event is h11.NEED_DATA:
                    state.receive_data(await reader.read(_PIECE))
                elif isinstance(event, h11.Response):
                    yield event
                elif isinstance(event, h11.Data):
                    yield bytes(event.data)
                elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    return
        except (OSError, h11.ProtocolError) as error:
            raise UpstreamError(str(error)) from None
        finally:
            writer.close()


async def _only_bytes(pieces: AsyncIterator[h11.Response | bytes]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        assert isinstance(piece, bytes)
        yield piece
