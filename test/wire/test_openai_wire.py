"""Every recorded OpenAI-shaped chat exchange, through both translations."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from openai_oracle import expected_answer, expected_error, expected_stream
from recordings import exchanges, restored, stream_events

from api_backends.errors import ApiError, InvalidRequestError
from api_backends.messages import normalize_messages
from api_backends.options import check_options
from api_backends.protocols.openai_chat import chat_body, read_chat
from api_backends.protocols.openai_errors import error_from
from api_backends.protocols.openai_stream import ChatStreamReader, chunks_of

if TYPE_CHECKING:
    from api_backends.types import ChatCompletionResponse, StreamChunk

PROVIDERS = [
    "openai",
    "groq",
    "openrouter",
    "xai",
    "deepseek",
    "together",
    "cerebras",
    "mistral",
    "openai_compatible",
    # Other servers that speak the protocol beside their own.
    "azure_openai",
    "huggingface",
    "ollama",
    "vllm",
    "tgi",
    "gemini",
    "ovms",
]
DIFFERENCES = Path(__file__).resolve().parents[2] / "docs" / "wire_differences.md"

pytestmark = pytest.mark.real("recorded traffic")


def listed_differences(kind: str, provider: str) -> set[str]:
    """The ids that docs/wire_differences.md names under a heading."""
    section = DIFFERENCES.read_text(encoding="utf-8").split(f"## {kind}\n")[1].split("\n## ")[0]
    return set(re.findall(rf"^\| ({provider}-[0-9a-f]{{10}}) \|", section, re.MULTILINE))


def facts_of(answer: ChatCompletionResponse) -> dict[str, Any]:
    usage = answer.usage
    return {
        "id": answer.id,
        "model": answer.model,
        "content": answer.content,
        "calls": [(call.id, call.name, call.arguments) for call in answer.tool_calls],
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


def check_chunks(chunks: list[StreamChunk], answer: ChatCompletionResponse) -> None:
    """What the chunks of a stream say piece by piece is what the whole answer says."""
    text = ""
    for chunk in chunks:
        text += chunk.delta
        assert chunk.text == text
    assert text == answer.content
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage == answer.usage
    assert chunks[-1].finish_reason == answer.finish_reason
    assert "".join(chunk.reasoning or "" for chunk in chunks) == (answer.reasoning or "")
    calls: dict[int, list[str]] = {}
    for chunk in chunks:
        for piece in chunk.tool_calls or []:
            call = calls.setdefault(piece.index, ["", "", ""])
            call[0] = call[0] or piece.id
            call[1] += piece.name
            call[2] += piece.arguments
    assert sorted(calls) == list(range(len(answer.tool_calls)))
    for place, call in enumerate(answer.tool_calls):
        assert calls[place][:2] == [call.id, call.name]
        assert calls[place][2] == call.arguments or (calls[place][2], call.arguments) == ("", "{}")


def read_stream(events: list[Any], done: bool) -> ChatCompletionResponse:
    reader = ChatStreamReader(backend="wire")
    chunks = [chunk for chunk in map(reader.read, events) if chunk is not None]
    chunks.append(reader.end(done))
    answer = reader.response()
    check_chunks(chunks, answer)
    return answer


def difference(exchange: dict[str, Any]) -> str | None:
    """How the code's reading of an exchange differs from the oracle's, None where it doesn't."""
    status, body = exchange["status"] or 200, exchange["response_body"]
    untouched = copy.deepcopy(body)
    found: Any
    if status >= 400:
        expected: Any = expected_error(status, body)
        found = error_from(status, exchange["response_headers"] or {}, body, backend="wire")
        assert len(str(found)) <= 520
    else:
        try:
            if exchange["response_body_kind"] == "sse":
                events, done = stream_events(body)
                expected = expected_stream(events, done)
                found = read_stream(events, done)
            else:
                expected = expected_answer(body)
                found = read_chat(body, backend="wire")
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


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_recorded_answer_is_read_right(
    provider: str, recorded_traffic: Path, record_property: Any
) -> None:
    read, wrong = 0, {}
    for exchange in exchanges(recorded_traffic, provider, "chat.completions"):
        read += 1
        problem = difference(exchange)
        if problem is not None:
            wrong[exchange["id"]] = problem[:500]
    record_property("answers", f"{read - len(wrong)} of {read}")
    print(f"{provider}: {read - len(wrong)} of {read} answers read right")
    assert read > 5
    listed = listed_differences("Answers", provider)
    assert {i: p for i, p in wrong.items() if i not in listed} == {}
    assert listed <= set(wrong), "these are right now: take them off docs/wire_differences.md"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_we_send_is_what_was_recorded(
    provider: str, recorded_traffic: Path, record_property: Any
) -> None:
    sent, refused, wrong = 0, [], {}
    for exchange in exchanges(recorded_traffic, provider, "chat.completions"):
        recorded = exchange["request_body"]
        if not isinstance(recorded, dict) or "messages" not in recorded:
            continue
        sent += 1
        recorded = restored(recorded)
        before = copy.deepcopy(recorded)
        options = {k: v for k, v in recorded.items() if k not in ("messages", "model")}
        # None means "not at all" for these two; whoever wants a null says so in `extra_body`.
        extra = {k: None for k in ("model", "stream_options") if recorded.get(k, "") is None}
        stream = bool(options.get("stream"))
        if stream:
            del options["stream"]
            options.setdefault("stream_options", None)
        try:
            check_options(options)
            messages = normalize_messages(recorded["messages"])
            body = chat_body(messages, recorded.get("model"), options, stream=stream)
            body.update(extra)
        except InvalidRequestError as error:
            refused.append(exchange["id"])
            if (exchange["status"] or 200) < 400:
                wrong[exchange["id"]] = f"refused: {error}"
            continue
        assert recorded == before
        if body != recorded and (exchange["status"] or 200) < 400:
            wrong[exchange["id"]] = f"{body} instead of {recorded}"[:500]
    record_property("requests", f"{sent - len(wrong)} of {sent}")
    print(f"{provider}: {sent - len(wrong)} of {sent} requests as recorded, refused {refused}")
    assert sent > 1
    listed = listed_differences("Requests", provider)
    assert {i: p for i, p in wrong.items() if i not in listed} == {}
    assert listed <= set(wrong), "these are right now: take them off docs/wire_differences.md"


def test_a_stream_that_is_cut_gives_its_text_so_far(recorded_traffic: Path) -> None:
    cut = 0
    for provider in ("openai", "groq", "openrouter", "mistral"):
        streams = 0
        for exchange in exchanges(recorded_traffic, provider, "chat.completions"):
            if exchange["response_body_kind"] != "sse" or exchange["status"] != 200:
                continue
            events, _ = stream_events(exchange["response_body"])
            if len(events) < 8 or isinstance(expected_stream(events, True), type):
                continue
            for end in range(1, len(events)):
                reader = ChatStreamReader(backend="wire")
                for event in events[:end]:
                    reader.read(event)
                expected = expected_stream(events[:end], False)
                assert isinstance(expected, dict)
                assert reader.response().content == expected["content"]
                assert reader.response().finish_reason == expected["reason"]
            streams += 1
            if streams == 6:
                break
        cut += streams
    assert cut >= 20
