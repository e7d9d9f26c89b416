"""Every recorded exchange of the Responses API, through both translations."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from openai_oracle import expected_error
from recordings import exchanges, restored, stream_events
from responses_oracle import expected_response, expected_response_stream, text_so_far
from test_openai_wire import check_chunks, facts_of, listed_differences

from api_backends.errors import ApiError, InvalidRequestError
from api_backends.protocols.openai_errors import error_from
from api_backends.protocols.openai_responses import read_response, responses_body
from api_backends.protocols.openai_responses_stream import ResponsesStreamReader

PROVIDERS = ["openai", "azure_openai", "openai_compatible", "xai", "openrouter"]

pytestmark = pytest.mark.real("recorded traffic")


def is_answer(exchange: dict[str, Any]) -> bool:
    body = exchange["response_body"]
    if exchange["url"].split("?")[0].endswith(("/compact", "/responses/")):
        return False
    deleted = isinstance(body, dict) and body.get("object") == "response.deleted"
    return exchange["method"] in ("POST", "GET") and not deleted


def read_stream(events: list[Any], done: bool) -> Any:
    reader = ResponsesStreamReader(backend="wire")
    chunks = [chunk for chunk in map(reader.read, events) if chunk is not None]
    if not reader.finished and not done:
        return reader.response()  # cut short
    chunks.append(reader.end(done))
    answer = reader.response()
    check_chunks(chunks, answer)
    return answer


def difference(exchange: dict[str, Any]) -> str | None:
    status, body = exchange["status"] or 200, exchange["response_body"]
    untouched = copy.deepcopy(body)
    expected: Any
    found: Any
    if status >= 400:
        expected = expected_error(status, body)
        found = error_from(status, exchange["response_headers"] or {}, body, backend="wire")
    else:
        try:
            if exchange["response_body_kind"] == "sse":
                events, done = stream_events(body)
                expected = expected_response_stream(events)
                found = read_stream(events, done)
                if expected is None:
                    assert found.content == text_so_far(events)
                    return None
            else:
                expected = expected_response(body)
                found = read_response(body, backend="wire")
                assert found.raw is body
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
    for exchange in exchanges(recorded_traffic, provider, "responses"):
        if not is_answer(exchange):
            continue
        read += 1
        try:
            problem = difference(exchange)
        except AssertionError as error:
            problem = f"not the same in pieces and whole: {error}"
        if problem is not None:
            wrong[exchange["id"]] = problem[:500]
    record_property("answers", f"{read - len(wrong)} of {read}")
    print(f"{provider}: {read - len(wrong)} of {read} answers read right")
    assert read > 5
    listed = listed_differences("Responses: answers", provider)
    assert {i: p for i, p in wrong.items() if i not in listed} == {}
    assert listed <= set(wrong), "these are right now: take them off docs/wire_differences.md"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_we_send_is_what_was_recorded(
    provider: str, recorded_traffic: Path, record_property: Any
) -> None:
    sent, refused, wrong = 0, [], {}
    for exchange in exchanges(recorded_traffic, provider, "responses"):
        recorded = exchange["request_body"]
        if not isinstance(recorded, dict) or not is_answer(exchange):
            continue
        sent += 1
        recorded = restored(recorded)
        before = copy.deepcopy(recorded)
        options = {k: v for k, v in recorded.items() if k not in ("input", "model")}
        stream = bool(options.get("stream"))
        if stream:
            del options["stream"]
        try:
            body = responses_body(
                recorded.get("input"), recorded.get("model"), options, stream=stream
            )
        except InvalidRequestError as error:
            refused.append(exchange["id"])
            if (exchange["status"] or 200) < 400:
                wrong[exchange["id"]] = f"refused: {error}"
            continue
        assert recorded == before
        said = {k: v for k, v in recorded.items() if k != "input" or v is not None}
        if body != said and (exchange["status"] or 200) < 400:
            wrong[exchange["id"]] = f"{body} instead of {recorded}"[:700]
    record_property("requests", f"{sent - len(wrong)} of {sent}")
    print(f"{provider}: {sent - len(wrong)} of {sent} requests as recorded, refused {refused}")
    assert sent > 1
    listed = listed_differences("Responses: requests", provider)
    assert {i: p for i, p in wrong.items() if i not in listed} == {}
    assert listed <= set(wrong), "these are right now: take them off docs/wire_differences.md"


def test_a_stream_that_is_cut_gives_its_text_so_far(recorded_traffic: Path) -> None:
    cut = 0
    for exchange in exchanges(recorded_traffic, "openai", "responses"):
        if exchange["response_body_kind"] != "sse" or exchange["status"] != 200:
            continue
        events, _ = stream_events(exchange["response_body"])
        if len(events) < 8 or not isinstance(expected_response_stream(events), dict):
            continue
        for end in range(1, len(events) - 1):
            reader = ResponsesStreamReader(backend="wire")
            for event in events[:end]:
                reader.read(event)
            assert reader.response().content == text_so_far(events[:end])
            assert reader.response().finish_reason is None
        cut += 1
        if cut == 20:
            break
    assert cut == 20
