"""Every recorded exchange with Anthropic's Messages API, through both translations."""

from __future__ import annotations

import copy
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from anthropic_oracle import expected_answer, expected_error, whole_message
from anthropic_recordings import (
    as_openai,
    body_of,
    comparable,
    mended,
    stand_in_connection,
)
from recordings import exchanges, restored, stream_events
from servers.claude_conversations import CONVERSATIONS

from api_backends.chat_stream import ChatStream
from api_backends.claude import Claude
from api_backends.engine.streams import SSEParser
from api_backends.errors import ApiError, InvalidRequestError, StreamInterruptedError
from api_backends.messages import assistant_message, normalize_messages
from api_backends.protocols.anthropic_answers import read_message
from api_backends.protocols.anthropic_errors import error_from
from api_backends.protocols.anthropic_messages import conversation_of
from api_backends.protocols.anthropic_stream import MessageStreamReader
from api_backends.protocols.openai_stream import chunks_of

if TYPE_CHECKING:
    from api_backends.types import ChatCompletionResponse, StreamChunk

# Who serves Anthropic's protocol, and how its exchanges are called there.
SERVED = [
    ("anthropic", "messages", 1800),
    ("vertex", "rawPredict", 25),
    ("azure_openai", "messages", 40),
    ("openai_compatible", "messages", 1),
]
DIFFERENCES = Path(__file__).resolve().parents[2] / "docs" / "wire_differences_claude.md"

pytestmark = pytest.mark.real("recorded traffic")


def listed_differences(kind: str) -> set[str]:
    """The ids that docs/wire_differences_claude.md names under a heading."""
    section = DIFFERENCES.read_text(encoding="utf-8").split(f"## {kind}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| ([a-z_]+-[0-9a-f]{10}) \|", section, re.MULTILINE))


def facts_of(answer: ChatCompletionResponse) -> dict[str, Any]:
    usage = answer.usage
    return {
        "id": answer.id,
        "model": answer.model,
        "content": answer.content,
        "calls": [(call.id, call.name, arguments(call.arguments)) for call in answer.tool_calls],
        "reason": answer.finish_reason,
        "usage": (
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.total_tokens,
            usage.cached_tokens,
            usage.reasoning_tokens,
        ),
        "reasoning": answer.reasoning or "",
        "refusal": answer.refusal or "",
    }


def arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"INVALID_JSON": text}


def check_chunks(chunks: list[StreamChunk], answer: ChatCompletionResponse) -> None:
    """What the chunks of a stream say piece by piece is what the whole answer says."""
    text = ""
    for chunk in chunks:
        text += chunk.delta
        assert chunk.text == text
    assert text == answer.content
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert [chunk.role for chunk in chunks] == ["assistant"] + [None] * (len(chunks) - 1)
    assert [bool(chunk.usage) for chunk in chunks[:-1]] == [False] * (len(chunks) - 1)
    assert chunks[-1].usage == answer.usage
    assert chunks[-1].finish_reason == answer.finish_reason
    assert "".join(chunk.reasoning or "" for chunk in chunks) == (answer.reasoning or "")
    calls: dict[int, list[str]] = {}
    for chunk in chunks:
        for piece in chunk.tool_calls or []:
            call = calls.setdefault(piece.index, ["", "", ""])
            call[0] += piece.id
            call[1] += piece.name
            call[2] += piece.arguments
    assert [calls[place] for place in sorted(calls)] == [
        [call.id, call.name, call.arguments] for call in answer.tool_calls
    ]


def read_stream(events: list[Any], done: bool, *, spliced: bool) -> ChatCompletionResponse:
    reader = MessageStreamReader(backend="wire")
    chunks = [chunk for chunk in map(reader.read, events) if chunk is not None]
    assert reader.finished
    chunks.append(reader.end(done))
    answer = reader.response()
    if not spliced:
        check_chunks(chunks, answer)
    return answer


def difference(exchange: dict[str, Any]) -> str | None:
    """How the code's reading of an exchange differs from the oracle's, None where it doesn't."""
    status, body = exchange["status"] or 200, exchange["response_body"]
    untouched = copy.deepcopy(body)
    expected: Any
    found: Any
    if status >= 400:
        expected = expected_error(status, body)
        found = error_from(status, exchange["response_headers"] or {}, body, backend="wire")
        assert len(str(found)) <= 520
    else:
        try:
            if exchange["response_body_kind"] == "sse":
                events, done = stream_events(body)
                expected = whole_message(events)
                starts = [e["message"]["id"] for e in events if e["type"] == "message_start"]
                found = read_stream(events, done, spliced=len(set(starts)) > 1)
                assert found.raw["content"] == expected["content"]  # what goes back
                assert found.raw == expected
                expected = expected_answer(expected)
            else:
                expected = expected_answer(body)
                found = read_message(body, backend="wire")
                assert found.raw is body
                check_chunks(chunks_of(found), found)
        except ApiError as error:
            found = error
    assert body == untouched
    if isinstance(found, ApiError):
        return None if type(found) is expected else f"{found!r} instead of {expected}"
    if isinstance(expected, type):
        return f"an answer instead of {expected}"
    facts = facts_of(found)
    wrong = [f"{k}: {facts[k]!r} instead of {v!r}" for k, v in expected.items() if facts[k] != v]
    return "; ".join(wrong) or None


@pytest.mark.parametrize(("provider", "api", "least"), SERVED)
def test_every_recorded_answer_is_read_right(
    provider: str, api: str, least: int, recorded_traffic: Path, record_property: Any
) -> None:
    read, wrong = 0, {}
    for exchange in exchanges(recorded_traffic, provider, api):
        read += 1
        problem = difference(exchange)
        if problem is not None:
            wrong[exchange["id"]] = problem[:500]
    record_property("answers", f"{read - len(wrong)} of {read}")
    print(f"{provider}: {read - len(wrong)} of {read} answers read right")
    assert read >= least
    listed = {i for i in listed_differences("Answers") if i.startswith(f"{provider}-")}
    assert {i: p for i, p in wrong.items() if i not in listed} == {}
    assert listed <= set(wrong), "these are right now: take them off the list of differences"


def test_what_claude_said_goes_back_block_by_block(recorded_traffic: Path) -> None:
    """Streamed or not, the content of an answer is the content of the next request."""
    kinds: Counter[str] = Counter()
    for exchange in exchanges(recorded_traffic, "anthropic", "messages"):
        if exchange["status"] != 200:
            continue
        body = exchange["response_body"]
        if exchange["response_body_kind"] == "sse":
            events, _ = stream_events(body)
            content = whole_message(events)
            if isinstance(content, type):
                continue
            reader = MessageStreamReader(backend="wire")
            for event in events:
                reader.read(event)
            answer = reader.response()
            content = content["content"]
        else:
            answer, content = read_message(body, backend="wire"), body["content"]
        wanted = [b for b in content if b["type"] != "text" or b["text"]]
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": "done"}
            for call in answer.tool_calls
        ]
        told = ["Hi", answer, *results, "Go on"]
        checked = normalize_messages(
            [{"role": "user", "content": m} if isinstance(m, str) else m for m in told]
        )
        if not wanted:
            with pytest.raises(InvalidRequestError, match=r"messages\[1\]\.content is empty"):
                conversation_of(checked)
            continue
        _, turns = conversation_of(checked)
        assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
        sent = turns[1]["content"]
        assert (sent if isinstance(sent, list) else [{"type": "text", "text": sent}]) == wanted
        # The same by way of the message that a caller may keep instead of the answer.
        assert (
            conversation_of(normalize_messages([checked[0], assistant_message(answer)]))[1][1]
            == (turns[1])
        )
        kinds.update(block["type"] for block in wanted)
    assert kinds["thinking"] > 150
    assert kinds["redacted_thinking"] >= 3
    assert kinds["tool_use"] > 400
    assert len(kinds) > 12


@pytest.mark.parametrize(("provider", "api", "least"), SERVED)
def test_what_we_send_is_what_was_recorded(
    provider: str, api: str, least: int, recorded_traffic: Path, record_property: Any
) -> None:
    """A recorded request, put into OpenAI's words, becomes the recorded request again."""
    backend = Claude(metadata={"api_key": "sk-ant-test"})
    sent, refused, wrong = 0, [], {}
    for exchange in exchanges(recorded_traffic, provider, api):
        recorded = exchange["request_body"]
        if not isinstance(recorded, dict) or not isinstance(recorded.get("messages"), list):
            continue
        recorded = mended(restored(recorded))
        sent += 1
        messages, options = as_openai(recorded)
        before = copy.deepcopy((messages, options))
        try:
            body = body_of(backend, messages, recorded.get("model"), options)
        except InvalidRequestError as error:
            refused.append(exchange["id"])
            if (exchange["status"] or 400) < 400:
                wrong[exchange["id"]] = f"refused: {error}"
            continue
        assert (messages, options) == before
        if comparable(body) != comparable(recorded):
            wrong[exchange["id"]] = f"{comparable(body)} instead of {comparable(recorded)}"[:1500]
    record_property("requests", f"{sent - len(wrong)} of {sent}")
    print(f"{provider}: {sent - len(wrong)} of {sent} requests as recorded, refused {refused}")
    assert sent >= least * 0.9
    listed = {i for i in listed_differences("Requests") if i.startswith(f"{provider}-")}
    assert {i: p for i, p in wrong.items() if i not in listed} == {}
    assert listed <= set(wrong), "these are right now: take them off the list of differences"


def chosen_streams(folder: Path, count: int, longest: int) -> list[dict[str, Any]]:
    """Recorded streams of every kind, the short ones."""
    seen: Counter[Any] = Counter()
    chosen = []
    for exchange in exchanges(folder, "anthropic", "messages"):
        text = exchange["response_body"]
        if exchange["response_body_kind"] != "sse" or len(text.encode()) > longest:
            continue
        events, done = stream_events(text)
        if isinstance(whole_message(events), type) or done:
            continue
        kind = tuple(exchange["edge"])
        if not seen[kind]:
            chosen.append(exchange)
        seen[kind] += 1
    chosen.sort(key=lambda exchange: -len(set(exchange["edge"])))
    return chosen[:count]


def played(pieces: list[bytes]) -> tuple[str, ChatCompletionResponse | None, ApiError | None]:
    """The text of a stream's chunks, its whole answer, and how it broke off."""
    text = ""
    reader = MessageStreamReader(backend="wire")
    connection = stand_in_connection(pieces)
    stream = ChatStream(connection, SSEParser(), reader, *[lambda _: None] * 3)
    try:
        stream.prime()
        for chunk in stream:
            text += chunk.delta
        return text, stream.response(), None
    except ApiError as error:
        return text, None, error


def text_so_far(events: list[Any]) -> str:
    return "".join(
        e["delta"]["text"]
        for e in events
        if e["type"] == "content_block_delta" and e["delta"]["type"] == "text_delta"
    )


def test_streams_cut_at_every_byte(recorded_traffic: Path) -> None:
    chosen = chosen_streams(recorded_traffic, 20, 3500)
    assert len(chosen) == 20
    cuts = whole = 0
    for exchange in chosen:
        data = exchange["response_body"].encode()
        _, answer, error = played([data])
        assert error is None
        assert answer is not None
        facts = facts_of(answer)
        for end in range(len(data)):
            # Text that was seen whole: an event counts as soon as its JSON is complete.
            events, _ = stream_events(data[:end].decode("utf-8", "ignore"))
            text, cut, error = played([data[:end]] if end else [])
            so_far = text_so_far(events)
            cuts += 1
            if error is None:
                whole += 1
                assert cut is not None
                assert facts_of(cut) == facts
                assert text == so_far
                continue
            assert type(error) is StreamInterruptedError, (end, error)
            assert error.partial is not None
            assert error.partial.content == so_far
            # A stream that broke before its first chunk was handed out is an error at once.
            assert text in (so_far, "")
    assert cuts > 20_000
    assert 20 <= whole < 20 * 60  # only what stands behind the last event can be missed


def test_streams_chunked_at_random(recorded_traffic: Path, seed: int) -> None:
    dice = random.Random(seed)
    for exchange in chosen_streams(recorded_traffic, 60, 12_000):
        data = exchange["response_body"].encode()
        _, answer, error = played([data])
        assert error is None
        assert answer is not None
        for _ in range(10):
            most = dice.choice((2, 5, 40, 400))
            pieces, place = [], 0
            while place < len(data):
                size = dice.randint(1, most)
                pieces.append(data[place : place + size])
                place += size
            text, again, error = played(pieces)
            assert error is None
            assert text == answer.content
            assert again == answer


def test_what_we_send_is_what_the_document_describes(recorded_traffic: Path) -> None:
    """Bodies made of the forty conversations satisfy Anthropic's published OpenAPI document."""
    jsonschema = pytest.importorskip("jsonschema")
    document = json.loads((recorded_traffic / "specs" / "anthropic.fixed.json").read_text())
    backend = Claude(metadata={"api_key": "sk-ant-test"})
    for conversation in CONVERSATIONS:
        name = "BetaCreateMessageParams" if conversation.betas else "CreateMessageParams"
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        options = {k: v for k, v in conversation.options.items() if k not in ("model", "betas")}
        model = conversation.options.get("model", "claude-sonnet-4-5")
        messages = conversation.messages
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        body = body_of(backend, messages, model, options)
        found = list(jsonschema.Draft202012Validator(schema).iter_errors(body))
        assert not found, (conversation.name, found[0].message[:300], found[0].json_path)
