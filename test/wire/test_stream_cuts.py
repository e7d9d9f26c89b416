"""Recorded streams, cut at every byte and chopped up at random: never another answer.

Whatever happens to the bytes, what comes out is the whole answer, or StreamInterruptedError with
exactly the text of the events that were whole.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from openai_oracle import expected_stream
from recordings import exchanges, stream_events
from responses_oracle import text_so_far

from api_backends.chat_stream import ChatStream
from api_backends.engine.streams import SSEParser
from api_backends.errors import StreamInterruptedError
from api_backends.protocols.openai_responses_stream import ResponsesStreamReader
from api_backends.protocols.openai_stream import ChatStreamReader
from api_backends.types import ChatCompletionResponse

pytestmark = pytest.mark.real("recorded traffic")

CHAT, RESPONSES = "chat.completions", "responses"


class Bytes:
    """Stands in for a connection: hands out pieces, then ends."""

    is_framed = False

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self.closed = False

    def pieces(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def finish(self, pieces: Iterator[bytes]) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    abort = drop = close


def read(
    pieces: list[bytes], reader: Any
) -> tuple[ChatCompletionResponse, str, StreamInterruptedError | None]:
    """The answer (or the part of it), the text of the chunks, and the error if there was one."""
    http: Any = Bytes(pieces)

    def not_whole(body: bytes) -> Any:
        raise AssertionError("a stream was taken for a whole answer")

    nothing: Callable[..., Any] = lambda *_: None  # noqa: E731
    said = []
    try:
        stream = ChatStream(http, SSEParser(), reader, not_whole, nothing, nothing, nothing)
        stream.prime()
        said = [chunk.delta for chunk in stream]
        answer = stream.response()
    except StreamInterruptedError as error:
        return check_partial(error, http), "", error
    assert http.closed
    return answer, "".join(said), None


def check_partial(error: StreamInterruptedError, http: Bytes) -> ChatCompletionResponse:
    assert http.closed
    assert error.partial is not None
    return error.partial


def streams(folder: Path, provider: str, api: str, count: int) -> list[str]:
    """The shortest recorded streams of whole answers that say something, each different."""
    found = {}
    for exchange in exchanges(folder, provider, api):
        if exchange["response_body_kind"] != "sse" or exchange["status"] != 200:
            continue
        text = exchange["response_body"]
        events, done = stream_events(text)
        if api == CHAT:
            facts = expected_stream(events, done)
            good = done and isinstance(facts, dict) and len(facts["content"]) > 2
            good = good and bool(facts["usage"][0])
        else:
            good = bool(events) and events[-1].get("type") == "response.completed"
            good = good and len(text_so_far(events)) > 2
        if good:
            found[text] = len(text)
    return sorted(found, key=lambda text: found[text])[:count]


def reader_of(api: str) -> Any:
    if api == RESPONSES:
        return ResponsesStreamReader(backend="wire")
    return ChatStreamReader(backend="wire", asks_usage=True)


SETS = [("openai", CHAT, 8), ("groq", CHAT, 7), ("openai", RESPONSES, 5)]


@pytest.mark.parametrize(("provider", "api", "count"), SETS)
def test_a_stream_cut_at_any_byte(
    provider: str, api: str, count: int, recorded_traffic: Path
) -> None:
    texts = streams(recorded_traffic, provider, api, count)
    assert len(texts) == count
    for text in texts:
        body = text.encode()
        whole, spoken, error = read([body], reader_of(api))
        assert error is None
        assert spoken == whole.content
        interrupted = 0
        for end in range(len(body)):
            answer, said, error = read([body[:end]], reader_of(api))
            if error is None:
                # What stands in `raw` may lack remarks that came after the end.
                assert replace(answer, raw=None) == replace(whole, raw=None), end
                assert said == spoken
                continue
            interrupted += 1
            events, done = stream_events(body[:end].decode("utf-8", "ignore"))
            if api == RESPONSES:
                assert answer.content == text_so_far(events), end
            else:
                facts = expected_stream(events, done)
                assert isinstance(facts, dict)
                assert answer.content == facts["content"], end
        assert interrupted > len(body) / 2


@pytest.mark.parametrize(("provider", "api", "count"), SETS)
def test_a_stream_in_any_chunks(
    provider: str, api: str, count: int, recorded_traffic: Path, seed: int
) -> None:
    chance = random.Random(seed)
    for text in streams(recorded_traffic, provider, api, count):
        for newline in ("\n", "\r\n"):
            body = text.replace("\r\n", "\n").replace("\n", newline).encode()
            whole, spoken, _ = read([body], reader_of(api))
            for _ in range(40):
                cuts = sorted(chance.sample(range(1, len(body)), chance.randint(1, 60)))
                edges = [0, *cuts, len(body)]
                pieces = [body[a:b] for a, b in pairwise(edges)]
                answer, said, error = read(pieces, reader_of(api))
                assert error is None
                assert answer == whole
                assert said == spoken
        alone, said, error = read([bytes([byte]) for byte in text.encode()], reader_of(api))
        assert (alone.content, said, error) == (whole.content, spoken, None)
