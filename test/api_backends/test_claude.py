"""The Claude back end against a server: headers, turns, counting, models, batches, bad input."""

from __future__ import annotations

import asyncio
import base64
import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from servers import faults
from servers.fault_server import FaultServer

from api_backends import find_compatible_backend, get_backend
from api_backends.claude import Claude
from api_backends.errors import (
    ApiTimeoutError,
    BackendClosedError,
    ConfigurationError,
    InvalidRequestError,
    InvalidResponseError,
    MissingCredentialsError,
    OverloadedError,
    StreamInterruptedError,
)
from api_backends.messages import normalize_messages
from api_backends.protocols.anthropic_options import default_max_tokens

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-ant-test-0123456789"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(32)).decode()
BMP = base64.b64encode(b"BM" + bytes(40)).decode()
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def message(*content: Any, reason: str = "end_turn", **beside: Any) -> dict[str, Any]:
    blocks = [{"type": "text", "text": c} if isinstance(c, str) else c for c in content]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
        **beside,
    }


def stream_of(answer: dict[str, Any]) -> list[bytes]:
    head = {**answer, "content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": head}]
    for index, block in enumerate(answer["content"]):
        start = {**block}
        deltas = []
        if block["type"] == "thinking":
            start.update(thinking="", signature="")
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        elif block["type"] == "text":
            start["text"] = ""
            deltas = [{"type": "text_delta", "text": block["text"]}]
        elif block["type"] == "tool_use":
            start["input"] = {}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": ending, "usage": answer["usage"]})
    events.append({"type": "message_stop"})
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]


@pytest.fixture
def server():
    with FaultServer() as fault_server:
        yield fault_server


@pytest.fixture
def claude(server):
    metadata = {"claude_api_key": KEY, "api_base": server.url, "initial_retry_delay": 0.001}
    with Claude(metadata=metadata) as backend:
        yield backend


# -- a call ---------------------------------------------------------------------------------------


def test_a_call_and_who_makes_it(server: FaultServer, claude: Claude) -> None:
    server.schedule(faults.answer(message("Hello"), headers={"request-id": "req_7"}))
    answer = claude.chat("Hi", temperature=0)
    assert (answer.content, answer.backend, answer.request_id) == ("Hello", "claude", "req_7")
    (sent,) = server.requests
    assert sent.path == "/v1/messages"
    assert sent.headers["x-api-key"] == KEY
    assert sent.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in sent.headers
    assert "anthropic-beta" not in sent.headers
    assert sent.json() == {
        "model": "claude-sonnet-4-5",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0,
        "max_tokens": 16384,
    }


def test_beta_features(server: FaultServer) -> None:
    server.schedule(*[faults.answer(message("Hello"))] * 4)
    metadata = {"api_key": KEY, "api_base": server.url, "claude_betas": ["a-1", "b-2"]}
    with Claude(metadata=metadata) as claude:
        claude.chat("Hi")
        claude.chat("Hi", betas="c-3", extra_headers={"Anthropic-Beta": "d-4, a-1"})
        claude.chat([{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}])
        claude.make_post_request({"model": "m", "messages": []}, betas=["e-5"])
    sent = [request.headers["anthropic-beta"] for request in server.requests]
    assert sent == ["a-1,b-2", "a-1,b-2,d-4,c-3", "a-1,b-2,files-api-2025-04-14", "a-1,b-2,e-5"]


def test_an_overloaded_server_is_asked_again(server: FaultServer, claude: Claude) -> None:
    busy = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    no = {"x-should-retry": "false"}
    server.schedule(
        faults.answer(busy, status=529),
        faults.answer(message("Hello")),
        faults.answer(busy, status=529, headers=no),
    )
    assert claude.chat("Hi").attempts == 2
    with pytest.raises(OverloadedError) as raised:
        claude.chat("Hi")
    assert raised.value.attempts == 1
    assert KEY not in str(raised.value) + repr(raised.value)


def test_an_error_before_the_answer_begins_is_that_error(
    server: FaultServer, claude: Claude
) -> None:
    busy = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    begun = stream_of(message("Hello"))
    failure = f"event: error\ndata: {json.dumps(busy)}\n\n".encode()
    server.schedule(
        faults.sse([begun[0], failure]), faults.sse(begun), faults.sse([*begun[:3], failure])
    )
    with claude.stream_chat("Hi") as stream:  # tried again: nothing had been said
        assert "".join(chunk.delta for chunk in stream) == "Hello"
    with claude.stream_chat("Hi") as stream:
        assert next(stream).delta == "Hello"
        with pytest.raises(StreamInterruptedError, match="Overloaded") as raised:
            list(stream)
    assert raised.value.partial.content == "Hello"


def test_a_whole_answer_where_a_stream_was_asked_for(server: FaultServer, claude: Claude) -> None:
    server.schedule(faults.answer(message("Hello")))
    with claude.stream_chat("Hi") as stream:
        assert [chunk.delta for chunk in stream] == ["Hello", ""]
    assert stream.response().content == "Hello"


@pytest.mark.parametrize("streamed", [False, True])
def test_thinking_goes_back_as_it_came(server: FaultServer, claude: Claude, streamed: bool) -> None:
    said = message(
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "AAAA"},
        "Let me look.",
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}},
        {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {"city": "Rome"}},
        reason="tool_use",
    )
    server.schedule(
        faults.sse(stream_of(said)) if streamed else faults.answer(said),
        faults.answer(message("Oslo.")),
    )
    talk: list[Any] = [{"role": "user", "content": "Which is colder?"}]
    options = {"tools": [WEATHER], "thinking": {"type": "enabled", "budget_tokens": 1024}}
    if streamed:
        with claude.stream_chat(talk, **options) as stream:
            assert [c.reasoning for c in stream if c.reasoning] == ["Hm."]
        answer = stream.response()
    else:
        answer = claude.chat(talk, **options)
    assert answer.finish_reason == "tool_calls"
    talk.append(answer)
    talk += [
        {"role": "tool", "tool_call_id": call.id, "content": "1", "is_error": False}
        for call in answer.tool_calls
    ]
    assert claude.chat(talk, **options).content == "Oslo."
    told = server.requests[1].json()
    assert told["messages"][1] == {"role": "assistant", "content": said["content"]}
    assert [block["tool_use_id"] for block in told["messages"][2]["content"]] == [
        "toolu_1",
        "toolu_2",
    ]
    assert told["max_tokens"] == 16384 + 1024


def test_a_paused_turn_goes_on(server: FaultServer, claude: Claude) -> None:
    search = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"q": "a"}}
    server.schedule(
        faults.answer(message("I search.", search, reason="pause_turn")),
        faults.answer(message("Found.")),
    )
    answer = claude.chat("Find it")
    assert (answer.finish_reason, answer.tool_calls) == ("pause_turn", [])
    assert claude.chat([{"role": "user", "content": "Find it"}, answer]).content == "Found."
    assert server.requests[1].json()["messages"][1]["content"][1] == search


def test_its_own_json(server: FaultServer, claude: Claude) -> None:
    own = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
    server.schedule(faults.answer(message("Hello")), faults.sse(stream_of(message("Hello"))))
    assert claude.make_post_request(own) == message("Hello")
    events = list(claude.make_stream_request(own))
    assert [event["type"] for event in events][0::5] == ["message_start", "message_stop"]
    assert [request.json().get("stream") for request in server.requests] == [None, True]


# -- counting and models --------------------------------------------------------------------------


def test_counting(server: FaultServer, claude: Claude) -> None:
    server.schedule(*[faults.answer({"input_tokens": 14})] * 2, faults.answer({"tokens": 1}))
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert claude.count_tokens(talk, tools=[WEATHER], temperature=0.5, max_tokens=9) == 14
    assert asyncio.run(claude.acount_tokens("Hi", model="claude-opus-4-6")) == 14
    with pytest.raises(InvalidResponseError, match="input_tokens"):
        claude.count_tokens("Hi")
    sent = server.requests[0]
    assert sent.path == "/v1/messages/count_tokens"
    assert sent.json().keys() == {"model", "system", "messages", "tools"}


def test_models_of_all_pages(server: FaultServer, claude: Claude) -> None:
    pages = [
        {"data": [{"id": "claude-a"}], "has_more": True, "last_id": "claude-a"},
        {"data": [{"id": "claude-b"}], "has_more": False, "last_id": "claude-b"},
    ]
    server.schedule(*[faults.answer(page) for page in (*pages, *pages)])
    assert [model["id"] for model in claude.list_models()] == ["claude-a", "claude-b"]
    models = asyncio.run(claude.alist_models())
    assert [model["id"] for model in models] == ["claude-a", "claude-b"]
    assert [request.path for request in server.requests][:2] == [
        "/v1/models",
        "/v1/models?after_id=claude-a",
    ]


def test_endpoints_are_tested(server: FaultServer, claude: Claude) -> None:
    refused = {"type": "error", "error": {"type": "authentication_error", "message": "no"}}
    server.schedule(faults.answer({"data": []}), faults.answer(refused, status=401))
    assert claude.test_endpoint()
    assert not claude.test_endpoint()


def test_which_models_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_backend("claude") is Claude
    assert Claude.matches_model("claude-opus-4-6")
    assert not Claude.matches_model("gpt-4o")
    found = find_compatible_backend("claude-haiku-4-5", metadata={"anthropic_api_key": KEY})
    assert isinstance(found, Claude)
    found.close()
    for name in (*Claude.key_env, "HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MissingCredentialsError, match="ANTHROPIC_API_KEY"):
        Claude(metadata={}).chat("Hi")


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("claude-3-haiku-20240307", 4096),
        ("claude-3-5-haiku-latest", 8192),
        ("claude-opus-4-1-20250805", 8192),
        ("claude-opus-4-0", 8192),
        ("claude-opus-4-20250514", 8192),
        ("claude-3-7-sonnet-latest", 16384),
        ("claude-sonnet-4-20250514", 16384),
        ("claude-opus-4-5", 16384),
        ("claude-opus-5", 16384),
        (None, 16384),
    ],
)
def test_how_much_it_may_write(model: str | None, tokens: int) -> None:
    assert default_max_tokens(model) == tokens


# -- batches --------------------------------------------------------------------------------------


def batch(status: str, processing: int) -> dict[str, Any]:
    counts = {"processing": processing, "succeeded": 3 - processing, "errored": 0}
    return {"id": "msgbatch_1", "processing_status": status, "request_counts": counts}


RESULTS = b"\n".join(
    json.dumps(
        {"custom_id": name, "result": {"type": "succeeded", "message": message(f"to {name}")}}
    ).encode()
    for name in ("request-2", "mine", "request-0")
)


def test_a_batch(server: FaultServer, claude: Claude) -> None:
    server.schedule(
        faults.answer(batch("in_progress", 3)),
        faults.answer(batch("in_progress", 2)),
        faults.answer(batch("ended", 0)),
        faults.answer(RESULTS),
    )
    requests = [
        "One",
        {"custom_id": "mine", "messages": "Two", "model": "claude-opus-4-6", "max_tokens": 7},
        [{"role": "user", "content": "Three"}],
    ]
    made = claude.create_batch(requests, temperature=0)
    seen: list[tuple[int, int]] = []
    ended = claude.wait_for_batch(
        made["id"], poll_interval=0.001, progress=lambda done, all_: seen.append((done, all_))
    )
    assert ended["processing_status"] == "ended"
    assert seen == [(1, 3), (3, 3)]
    results = claude.batch_results(made["id"], ["request-0", "mine", "request-2"])
    assert [r.response.content for r in results] == ["to request-0", "to mine", "to request-2"]
    sent = server.requests[0].json()["requests"]
    assert [request["custom_id"] for request in sent] == ["request-0", "mine", "request-2"]
    assert sent[0]["params"] == {
        "model": "claude-sonnet-4-5",
        "messages": [{"role": "user", "content": "One"}],
        "temperature": 0,
        "max_tokens": 16384,
    }
    assert (sent[1]["params"]["model"], sent[1]["params"]["max_tokens"]) == ("claude-opus-4-6", 7)
    assert [(r.method, r.path.removeprefix("/v1/messages/batches")) for r in server.requests] == [
        ("POST", ""),
        ("GET", "/msgbatch_1"),
        ("GET", "/msgbatch_1"),
        ("GET", "/msgbatch_1/results"),
    ]


def test_a_batch_from_an_event_loop(server: FaultServer, claude: Claude) -> None:
    server.schedule(
        faults.answer(batch("in_progress", 3)),
        faults.answer(batch("in_progress", 3)),
        faults.answer(batch("canceling", 3)),
        faults.answer(batch("ended", 0)),
        faults.answer(RESULTS),
    )

    async def run() -> list[str]:
        made = await claude.acreate_batch(["One"])
        await claude.aget_batch(made["id"])
        await claude.acancel_batch(made["id"])
        await claude.await_for_batch(made["id"], poll_interval=0.001)
        return [result.custom_id for result in await claude.abatch_results(made["id"])]

    assert asyncio.run(run()) == ["request-2", "mine", "request-0"]  # the order of the file
    assert server.requests[2].path == "/v1/messages/batches/msgbatch_1/cancel"


def test_a_wait_that_ends_early(server: FaultServer, claude: Claude) -> None:
    server.schedule(*[faults.answer(batch("in_progress", 1))] * 3)
    with pytest.raises(ApiTimeoutError, match="2 of 3"):
        claude.wait_for_batch("msgbatch_1", poll_interval=0.001, wait_timeout=0.001)
    with pytest.raises(BackendClosedError):
        # Closing wakes the one that waits: an hour does not pass.
        claude.wait_for_batch("msgbatch_1", poll_interval=3600, progress=lambda *_: claude.close())


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ("One", "it is a list"),
        ([], "0 given"),
        ([{"custom_id": "a b", "messages": "Hi"}], r"requests\[0\]\.custom_id"),
        ([{"custom_id": "request-1", "messages": "Hi"}, "Hi"], r"requests\[1\].*twice"),
        (["Hi", {"model": "m"}], r"requests\[1\]\.messages"),
        (["Hi", [{"role": "user", "content": 5}]], r"requests\[1\]: messages\[0\]\.content"),
        ([{"messages": "Hi", "seed": 1}], r"requests\[0\]: seed"),
    ],
)
def test_batches_that_are_none(claude: Claude, requests: Any, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        claude.create_batch(requests)


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seed": 1}, "seed"),
        ({"n": 2}, "^n "),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"prediction": {}}, "prediction"),
        ({"store": True}, "store"),
        ({"verbosity": "low"}, "verbosity"),
        ({"web_search_options": {}}, "web_search_20250305"),
        ({"functions": [{"name": "f"}]}, "tools"),
        ({"temperature": 1.5}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
        ({"stop": ["a"], "stop_sequences": ["b"]}, "stop_sequences"),
        ({"stream": True}, "stream_chat"),
        ({"response_format": {"type": "json_object"}}, "json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}}, "schema"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"reasoning_effort": "xhigh"}, "claude-sonnet-4-5"),
        ({"reasoning_effort": "low", "thinking": {"type": "adaptive"}}, "thinking"),
        ({"reasoning_effort": "low", "model": "claude-3-haiku-20240307"}, "doesn't think"),
        ({"reasoning_effort": "low", "max_tokens": 100}, "max_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": "many"}}, "budget_tokens"),
        ({"tools": "weather"}, "tools"),
        ({"tools": [{"name": "weather"}]}, r"tools\[0\]"),
        ({"tools": [{"type": "function", "function": {}}]}, r"tools\[0\]\.function\.name"),
        ({"tools": [WEATHER], "tool_choice": "always"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}}, "'weather'"),
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tools"),
        ({"user": "a", "metadata": {"user_id": "b"}}, "user_id"),
        ({"output_config": "low"}, "output_config"),
        ({"betas": 5}, "betas"),
        ({"betas": ["a\nb"]}, "betas"),
    ],
)
def test_options_that_cannot_be_honoured(
    server: FaultServer, claude: Claude, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        claude.chat("Hi", **options)
    with pytest.raises(InvalidRequestError, match=said):
        claude.submit("Hi", **options)
    assert server.requests == []


def test_options_that_ask_for_nothing_special(server: FaultServer, claude: Claude) -> None:
    server.schedule(faults.answer(message("Hello")))
    claude.chat(
        "Hi", n=1, logprobs=False, frequency_penalty=0, presence_penalty=0.0, store=False,
        seed=None,
        logit_bias={}, modalities=["text"], response_format={"type": "text"}, stream=False,
        stream_options={"include_usage": True}, parallel_tool_calls=True, max_tokens=None,
    )  # fmt: skip
    assert server.requests[0].json().keys() == {"model", "messages", "max_tokens"}


@pytest.mark.parametrize(
    ("model", "effort", "limit", "sent"),
    [
        ("claude-opus-4-5", "low", None, {"output_config": {"effort": "low"}}),
        ("claude-sonnet-4-6", "minimal", None, {"output_config": {"effort": "low"}}),
        ("claude-opus-5", "max", 100, {"output_config": {"effort": "max"}}),
        ("claude-opus-5", "none", None, {"thinking": {"type": "disabled"}}),
        (
            "claude-haiku-4-5",
            "medium",
            None,
            {"thinking": {"type": "enabled", "budget_tokens": 4096}},
        ),
        (
            "claude-sonnet-4-0",
            "high",
            10000,
            {"thinking": {"type": "enabled", "budget_tokens": 5000}},
        ),
    ],
)
def test_effort(
    claude: Claude, model: str, effort: str, limit: int | None, sent: dict[str, Any]
) -> None:
    options = {"reasoning_effort": effort, "max_tokens": limit}
    body = claude.chat_body(normalize_messages("Hi"), model, options, stream=False)
    assert {k: v for k, v in body.items() if k in ("thinking", "output_config")} == sent
    budget = sent.get("thinking", {}).get("budget_tokens", 0)
    assert body["max_tokens"] > budget


def part(**given: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [given]}]


def url(address: str, **beside: Any) -> list[dict[str, Any]]:
    return part(type="image_url", image_url={"url": address, **beside})


def attached(data: str, **beside: Any) -> list[dict[str, Any]]:
    return part(type="file", file={"file_data": data, **beside})


CALL = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ("", "empty text"),
        ([], "messages is empty"),
        ([{"role": "system", "content": "Be brief."}], "nobody but the system"),
        ([{"role": "robot", "content": "Hi"}], r"messages\[0\]\.role"),
        ([{"role": "user", "content": ""}], r"messages\[0\]\.content is empty"),
        ([{"role": "user", "name": "Ann", "content": "Hi"}], r"messages\[0\]\.name"),
        ([{"role": "tool", "tool_call_id": "x", "content": "1"}], r"tool_call_id"),
        (url("http://example.com/a.png"), "https"),
        (url("ftp://example.com/a.png"), "web address"),
        (url(f"data:image/bmp;base64,{BMP}"), "image/bmp"),
        (url(f"data:image/png;base64,{BMP}"), "image/bmp"),
        (url("data:image/png;base64,"), "empty"),
        (url("https://example.com/a.png", detail="low"), "detail"),
        (
            url("data:image/png;base64,"
                + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(4_200_000)).decode()),
            "5.3 MiB",
        ),
        (part(type="input_audio", input_audio={"data": "AAAA", "format": "wav"}), "sound"),
        (attached("data:application/zip;base64,AAAA"), "application/zip"),
        (attached("AAAA", filename="a.pdf"), "not a PDF"),
        (attached("data:text/plain;base64,/w=="), "UTF-8"),
        (attached("data:application/pdf;base64,"), "empty"),
        (attached("http://example.com/a.pdf"), "https"),
        (part(type="file", file={"filename": "a.pdf"}), "neither file_id nor file_data"),
        (
            [{"role": "user", "content": "Hi"},
             {"role": "assistant", "tool_calls": [
                 {**CALL, "function": {"name": "f", "arguments": "{"}}]}],
            r"tool_calls\[0\]\.function\.arguments is not JSON",
        ),
        (
            [{"role": "user", "content": "Hi"},
             {"role": "assistant", "tool_calls": [
                 {**CALL, "function": {"name": "f", "arguments": "[1]"}}]}],
            "list in JSON",
        ),
        (
            [{"role": "assistant", "tool_calls": [CALL]},
             {"role": "tool", "tool_call_id": "t1", "content": "1", "is_error": "yes"}],
            "is_error",
        ),
    ],
)  # fmt: skip
def test_messages_that_claude_can_not_be_told(
    server: FaultServer, claude: Claude, messages: Any, said: str
) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        claude.chat(messages)
    assert server.requests == []


def test_calls_without_ids_find_their_results(claude: Claude) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    legacy = {"name": "g", "arguments": '{"a": 1}'}
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "function_call": legacy},
        {"role": "function", "name": "g", "content": "2"},
        {"role": "assistant", "content": "", "tool_calls": [{**call, "id": "t.1"}]},
        {"role": "user", "content": "Wait"},
        {"role": "tool", "tool_call_id": "t.1", "content": "3"},
    ]
    turns = claude.chat_body(normalize_messages(talk), "m", {}, stream=False)["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant", "user"]
    assert turns[1]["content"][0]["input"] == {"a": 1}
    assert turns[2]["content"][0]["tool_use_id"] == turns[1]["content"][0]["id"]
    # The result comes first: the API wants it right behind the call.
    assert [block["type"] for block in turns[4]["content"]] == ["tool_result", "text"]
    assert turns[4]["content"][0]["tool_use_id"] == turns[3]["content"][0]["id"] == "t_1"


def test_settings_that_are_wrong() -> None:
    with pytest.raises(ConfigurationError, match="claude_betas: 5"):
        Claude(metadata={"claude_betas": 5})
    with pytest.raises(ConfigurationError, match="claude_betas"):
        Claude(metadata={"claude_beta": "x"})
    # Settings of one back end do not disturb another.
    get_backend("openai")(metadata={"claude_betas": ["x"], "openai_api_key": "k"}).close()


def test_no_key_is_shown(claude: Claude) -> None:
    assert KEY not in repr(claude) + str(claude.list_endpoints()) + str(claude.get_stats())
    assert KEY not in repr(claude.secret_headers(KEY))


def anything(exchange: Any) -> None:
    """Answer each route of the API; offered tools are called once."""
    path = exchange.request.path
    body = exchange.request.json() if exchange.request.body else {}
    if path.endswith("/count_tokens"):
        faults.answer({"input_tokens": 14})(exchange)
    elif path.endswith("/results"):
        faults.answer(RESULTS)(exchange)
    elif "/batches" in path:
        faults.answer(batch("ended", 0))(exchange)
    elif "/models" in path:
        faults.answer({"data": [{"id": "claude-sonnet-4-5"}]})(exchange)
    else:
        said = message("Hello")
        if body.get("tools") and "tool_result" not in json.dumps(body["messages"]):
            use = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}}
            said = message(use, reason="tool_use")
        behaviour = faults.sse(stream_of(said)) if body.get("stream") else faults.answer(said)
        behaviour(exchange)


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch):
    """A server that the environment points to, as a user's would."""
    with FaultServer(then=anything) as standin:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("CLAUDE_API_URL", standin.url)
        yield standin


def test_the_page_runs(configured: FaultServer) -> None:
    """Every Python block of docs/claude.md, one after the other."""
    page = ROOT / "docs" / "claude.md"
    blocks = [b.split("```")[0] for b in page.read_text(encoding="utf-8").split("```python\n")[1:]]
    assert len(blocks) >= 8
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    names["claude"].close()
    assert len(configured.requests) >= 14


def test_the_example_runs(configured: FaultServer, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "claude.py"), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    assert printed[:3] == ["A question:  Hello", "A stream:   Hello", "With a tool: Hello"]
    assert printed[3].startswith("Tokens:")
    assert len(configured.requests) == 4
