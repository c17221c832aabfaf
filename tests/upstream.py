"""A stand-in for a paid provider at the wire: a real HTTP server on loopback that records every byte it gets.

It speaks OpenAI chat completions (POST .../chat/completions) and Anthropic messages (POST .../messages), streaming
and whole, and does what it is told: echo, a fixed text, a tool call, an error, a cut, silence. In a test:

    async with RecordingUpstream() as upstream:
        upstream.will(Answer(text="Hello", pieces="characters"))    # for all requests from now on
        upstream.will(Answer(status=500), Answer())                 # in turn; the last one for the rest
        ...
        assert b"secret" not in upstream.received                   # heads and bodies of all POSTs

As a process of its own, to be killed or to outlive what is killed:

    python -m tests.upstream --port N [--answer JSON]    prints one line of JSON with its "url"
    GET /__upstream/requests                             what it recorded;  POST /__upstream/will  [JSON answers]
    POST /__upstream/release                             lets answers that hold go on
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from typing import Any, Literal, Self

Pieces = Literal["whole", "characters", "odd"]

ODD_SIZES = (1, 2, 3, 5, 1, 7, 1, 1, 4)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the upstream does with a request. The answer's text is `text`, or the last user message.

    `pieces`: how the text is split into stream events. `byte_cuts`: TCP writes of that many bytes each, whatever
    they cut. `cut_after`: close the connection after so many pieces. `hold_after`: wait for `release` after so
    many pieces. `tool_call`: name and JSON arguments, instead of text. `hang`: read the request and say nothing.
    `error_after`: an error event in the stream after so many pieces.
    """

    text: str | None = None
    status: int = 200
    pieces: Pieces = "whole"
    byte_cuts: int | None = None
    cut_after: int | None = None
    hold_after: int | None = None
    error_after: int | None = None
    delay_s: float = 0.0
    piece_delay_s: float = 0.0
    hang: bool = False
    drop: bool = False
    tool_call: tuple[str, str] | None = None
    finish: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request: its head and body as they came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    head: bytes
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(eq=False)
class RecordingUpstream:
    """The server. `requests` holds POSTs only; HEAD and GET (someone looks whether it is there) are in `probes`."""

    port: int = 0
    host: str = "127.0.0.1"
    requests: list[Recorded] = field(default_factory=list)
    probes: list[Recorded] = field(default_factory=list)
    answered: int = 0
    _answers: list[Answer] = field(default_factory=lambda: [Answer()])
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def received(self) -> bytes:
        """Everything that was ever posted, heads and bodies."""
        return b"\n".join(request.head + request.body for request in self.requests)

    def will(self, *answers: Answer) -> None:
        """Answer so from now on: in turn, the last one for all that follow."""
        self._answers = list(answers)

    def release(self) -> None:
        """Let the answers that hold, and those that will, go on."""
        self._released.set()

    async def wait_for_requests(self, count: int) -> None:
        """Return once so many POSTs have arrived."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    async def wait_for_answers(self, count: int) -> None:
        """Return once so many POSTs were answered to the end."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: self.answered >= count)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close the port and all connections, as a server that dies."""
        if self._server is not None:
            self._server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    async def start(self) -> None:
        """Listen again, on the same port."""
        await self.__aenter__()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read(reader)) is not None:
                if not await self._handle(request, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _handle(self, request: Recorded, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer; False where the connection is to be closed."""
        if request.path.startswith("/__upstream/"):
            return await _whole(writer, 200, json.dumps(self._control(request)).encode())
        if request.method != "POST":
            self.probes.append(request)
            return await _whole(writer, 404, b"")
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        async with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()
        keep = await self._answer(request, answer, reader, writer)
        async with self._arrived:
            self.answered += keep
            self._arrived.notify_all()
        return keep

    async def _answer(
        self, request: Recorded, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        await asyncio.sleep(answer.delay_s)
        if answer.drop:
            return False
        if answer.hang:
            await reader.read(1)  # until the other side gives up
            return False
        if answer.status != 200:
            body = (answer.body or '{"error": {"message": "no", "type": "error"}}').encode()
            return await _whole(writer, answer.status, body, answer.headers)
        wire = Anthropic(request.json, answer) if request.path.endswith("/messages") else OpenAi(request.json, answer)
        if not request.json.get("stream"):
            return await _whole(writer, 200, json.dumps(wire.document()).encode())
        return await self._stream(wire, answer, writer)

    async def _stream(self, wire: Anthropic | OpenAi, answer: Answer, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await self._write(writer, b"".join(wire.opening()), answer)
        for number, piece in enumerate(wire.pieces()):
            if number == answer.hold_after:
                await self._released.wait()
            if number == answer.cut_after:
                writer.transport.abort()
                return False
            if number == answer.error_after:
                await self._write(writer, wire.error(), answer)
                return False
            await self._write(writer, piece, answer)
            await asyncio.sleep(answer.piece_delay_s)
        await self._write(writer, b"".join(wire.closing()), answer)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _write(self, writer: asyncio.StreamWriter, data: bytes, answer: Answer) -> None:
        size = answer.byte_cuts or len(data) or 1
        for start in range(0, len(data), size):
            part = data[start : start + size]
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
            if answer.byte_cuts:
                await asyncio.sleep(0)

    def _control(self, request: Recorded) -> Any:
        match request.path.removeprefix("/__upstream/"):
            case "requests":
                return {"requests": [_to_json(item) for item in self.requests], "answered": self.answered}
            case "will":
                self.will(*(answer_from_json(item) for item in request.json))
            case "release":
                self.release()
        return {}


@dataclass(frozen=True, slots=True)
class OpenAi:
    """Chat completions. Of `n` choices, interleaved, each but the first says its number before its text."""

    request: dict[str, Any]
    answer: Answer

    def opening(self) -> Iterator[bytes]:
        for index in self._choices():
            yield self._chunk({"role": "assistant", "content": ""}, index=index)

    def pieces(self) -> Iterator[bytes]:
        for together in zip_longest(*map(self._pieces_of, self._choices())):
            yield from (piece for piece in together if piece is not None)

    def _pieces_of(self, index: int) -> Iterator[bytes]:
        if self.answer.tool_call is None:
            for text in self._texts(index):
                yield self._chunk({"content": text}, index=index)
            return
        name, arguments = self.answer.tool_call
        head = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
        yield self._chunk({"tool_calls": [head]}, index=index)
        for text in split(arguments, self.answer.pieces):
            yield self._chunk({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}, index=index)

    def closing(self) -> Iterator[bytes]:
        for index in self._choices():
            yield self._chunk({}, self._reason(), index=index)
        yield _sse({**self._head(), "object": "chat.completion.chunk", "choices": [], "usage": self._usage()})
        yield b"data: [DONE]\n\n"

    def error(self) -> bytes:
        return _sse({"error": {"message": "overloaded", "type": "server_error"}})

    def document(self) -> dict[str, Any]:
        choices = [
            {"index": index, "message": self._message(index), "finish_reason": self._reason()}
            for index in self._choices()
        ]
        return {**self._head(), "object": "chat.completion", "choices": choices, "usage": self._usage()}

    def _message(self, index: int) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._texts(index))}
        if self.answer.tool_call is not None:
            name, arguments = self.answer.tool_call
            call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
            message |= {"content": None, "tool_calls": [call]}
        return message

    def _choices(self) -> range:
        return range(self.request.get("n", 1))

    def _texts(self, index: int) -> Iterator[str]:
        text = echoed(self.request) if self.answer.text is None else self.answer.text
        return split(f"{index}: {text}" if index else text, self.answer.pieces)

    def _reason(self) -> str:
        return self.answer.finish or ("stop" if self.answer.tool_call is None else "tool_calls")

    def _usage(self) -> dict[str, int]:
        completion = 7 * len(self._choices())
        return {"prompt_tokens": 11, "completion_tokens": completion, "total_tokens": 11 + completion}

    def _head(self) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "created": 1, "model": self.request["model"]}

    def _chunk(self, delta: dict[str, Any], reason: str | None = None, *, index: int = 0) -> bytes:
        choice = {"index": index, "delta": delta, "finish_reason": reason}
        return _sse({**self._head(), "object": "chat.completion.chunk", "choices": [choice]})


@dataclass(frozen=True, slots=True)
class Anthropic:
    """Messages."""

    request: dict[str, Any]
    answer: Answer

    def opening(self) -> Iterator[bytes]:
        head = {**self._head(), "content": [], "stop_reason": None, "usage": {"input_tokens": 11, "output_tokens": 1}}
        yield self._event("message_start", message=head)
        if self.answer.tool_call is None:
            block: dict[str, Any] = {"type": "text", "text": ""}
        else:
            block = {"type": "tool_use", "id": "toolu_1", "name": self.answer.tool_call[0], "input": {}}
        yield self._event("content_block_start", index=0, content_block=block)
        yield self._event("ping")

    def pieces(self) -> Iterator[bytes]:
        if self.answer.tool_call is None:
            for text in self._texts():
                yield self._event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
            return
        for text in split(self.answer.tool_call[1], self.answer.pieces):
            delta = {"type": "input_json_delta", "partial_json": text}
            yield self._event("content_block_delta", index=0, delta=delta)

    def closing(self) -> Iterator[bytes]:
        yield self._event("content_block_stop", index=0)
        yield self._event("message_delta", delta={"stop_reason": self._reason()}, usage={"output_tokens": 7})
        yield self._event("message_stop")

    def error(self) -> bytes:
        return self._event("error", error={"type": "overloaded_error", "message": "overloaded"})

    def document(self) -> dict[str, Any]:
        if self.answer.tool_call is None:
            block: dict[str, Any] = {"type": "text", "text": "".join(self._texts())}
        else:
            name, arguments = self.answer.tool_call
            block = {"type": "tool_use", "id": "toolu_1", "name": name, "input": json.loads(arguments)}
        usage = {"input_tokens": 11, "output_tokens": 7}
        return {**self._head(), "content": [block], "stop_reason": self._reason(), "usage": usage}

    def _texts(self) -> Iterator[str]:
        return split(echoed(self.request) if self.answer.text is None else self.answer.text, self.answer.pieces)

    def _reason(self) -> str:
        return self.answer.finish or ("end_turn" if self.answer.tool_call is None else "tool_use")

    def _head(self) -> dict[str, Any]:
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": self.request["model"]}

    def _event(self, kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\n".encode() + _sse({"type": kind, **fields})


def echoed(request: dict[str, Any]) -> str:
    """The text of the last user message, in either format."""
    content = next(m["content"] for m in reversed(request["messages"]) if m["role"] == "user")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def split(text: str, pieces: Pieces) -> Iterator[str]:
    if pieces == "whole":
        yield text
        return
    start = number = 0
    while start < len(text):
        size = 1 if pieces == "characters" else ODD_SIZES[number % len(ODD_SIZES)]
        yield text[start : start + size]
        start, number = start + size, number + 1


def answer_from_json(document: dict[str, Any]) -> Answer:
    """An answer as `--answer` and `/__upstream/will` take it."""
    fields = dict(document)
    if fields.get("tool_call"):
        fields["tool_call"] = tuple(fields["tool_call"])
    if "headers" in fields:
        fields["headers"] = tuple((name, value) for name, value in fields["headers"])
    return Answer(**fields)


def answer_to_json(answer: Answer) -> dict[str, Any]:
    return asdict(answer)


def _to_json(request: Recorded) -> dict[str, Any]:
    raw = {"head": base64.b64encode(request.head).decode(), "body": base64.b64encode(request.body).decode()}
    return {"method": request.method, "path": request.path, "headers": request.headers, **raw}


def recorded_from_json(document: dict[str, Any]) -> Recorded:
    """What GET /__upstream/requests tells of one request."""
    raw = {name: base64.b64decode(document[name]) for name in ("head", "body")}
    return Recorded(document["method"], document["path"], document["headers"], raw["head"], raw["body"])


async def _read(reader: asyncio.StreamReader) -> Recorded | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Recorded(method, path, headers, head, body)


async def _whole(
    writer: asyncio.StreamWriter, status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()
) -> bool:
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **dict(headers)}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body)
    await writer.drain()
    return True


def _sse(document: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n".encode()


@contextlib.asynccontextmanager
async def two_upstreams() -> AsyncIterator[tuple[RecordingUpstream, RecordingUpstream]]:
    """A first choice and a second."""
    async with RecordingUpstream() as first, RecordingUpstream() as second:
        yield first, second


async def _serve(port: int, answer: Answer) -> None:
    async with RecordingUpstream(port) as upstream:
        upstream.will(answer)
        sys.stdout.write(json.dumps({"url": upstream.url}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A stand-in for a paid provider, on loopback.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--answer", type=json.loads, default={}, help="JSON fields of Answer")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(given.port, answer_from_json(given.answer)))
