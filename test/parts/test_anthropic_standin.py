"""The stand-in for Anthropic's API: Claude's back end works with it, and wrong requests don't."""

from __future__ import annotations

import json

import pytest
import requests
from servers import anthropic_standin as standin

from api_backends.claude import Claude
from api_backends.errors import AuthenticationError, ModelNotFoundError

KEY = "sk-ant-standin-0123456789"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
HI = [{"role": "user", "content": "Hi"}]
USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "1"}


@pytest.fixture(scope="module")
def server():
    with standin.StandIn(key=KEY) as running:
        yield running


@pytest.fixture
def claude(server):
    with Claude(metadata={"api_base": server.url, "api_key": KEY}) as backend:
        yield backend


def test_claude_talks_to_it(claude):
    assert claude.test_endpoint()
    assert claude.chat("Hello there").content == "Hello there"
    with claude.stream_chat("one two three") as stream:
        assert [chunk.delta for chunk in stream if chunk.delta] == ["one ", "two ", "three"]
    assert claude.chat("one two three", max_tokens=2).finish_reason == "length"
    assert claude.count_tokens("one two three") == 3
    assert [model["id"] for model in claude.list_models()] == ["claude-sonnet-4-5"]


@pytest.mark.parametrize("streamed", [False, True])
def test_tools(claude, streamed):
    talk = [
        {"role": "user", "content": 'call weather {"city": "Oslo"}; call weather {"city": "R"}'}
    ]
    if streamed:
        with claude.stream_chat(talk, tools=[WEATHER]) as stream:
            answer = stream.response()
    else:
        answer = claude.chat(talk, tools=[WEATHER])
    assert [call.parsed_arguments()["city"] for call in answer.tool_calls] == ["Oslo", "R"]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in answer.tool_calls
    ]
    assert claude.chat([*talk, answer, *results], tools=[WEATHER]).content == "rain rain"


def test_who_may_ask_for_what(server, claude):
    with pytest.raises(ModelNotFoundError, match="claude-0"):
        claude.chat("Hi", model="claude-0")
    with Claude(metadata={"api_base": server.url, "api_key": "sk-ant-wrong-0123456789"}) as other:
        with pytest.raises(AuthenticationError) as raised:
            other.chat("Hi")
        assert "sk-ant-wrong" not in str(raised.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": None},
        {"messages": []},
        {"messages": [{"role": "robot", "content": "Hi"}]},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
        {"messages": [*HI, {"role": "assistant", "content": [USE]}, *HI]},
        {"messages": [*HI, {"role": "user", "content": [RESULT]}]},
        {
            "messages": [
                *HI,
                {"role": "assistant", "content": [USE]},
                {"role": "user", "content": [{"type": "text", "text": "x"}, RESULT]},
            ]
        },
        {"temperature": 1.5},
        {"seed": 1},
        {"tools": [{"type": "function"}]},
        {"tool_choice": "auto"},
    ],
)
def test_wrong_requests_are_refused(server, wrong):
    body = {"model": "claude-sonnet-4-5", "max_tokens": 5, "messages": HI, **wrong}
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    with requests.post(server.url + "/v1/messages", json=body, headers=headers, timeout=10) as r:
        assert r.status_code == 400
        assert json.loads(r.content)["error"]["type"] == "invalid_request_error"
