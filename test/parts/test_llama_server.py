"""llama-server with the reciting model says what it must: plain requests, no code of ours."""

from __future__ import annotations

import json

import pytest
import requests

pytestmark = pytest.mark.real("llama-server")

NAMES = (
    "hello",
    "system",
    "count",
    "unicode",
    "json",
    "long",
    "tool_call",
    "tool_result",
    "tools_unused",
)


def ask(server, item, key=None, **options):
    body = {"model": server.model, "messages": item["messages"], "max_tokens": 400, **options}
    if item["tools"]:
        body["tools"] = item["tools"]
    headers = {"Authorization": f"Bearer {key or server.key}"}
    url = f"{server.url}/v1/chat/completions"
    with requests.post(url, json=body, headers=headers, timeout=30) as answer:
        return answer.status_code, answer.content


def events(data):
    lines = data.decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def test_the_conversations_are_all_tested(llama_server):
    assert set(NAMES) == set(llama_server.conversations)


@pytest.mark.parametrize("name", NAMES)
def test_recites(llama_server, name):
    item = llama_server.conversations[name]
    status, data = ask(llama_server, item)
    answer = json.loads(data)
    assert status == 200, answer
    choice = answer["choices"][0]
    message = choice["message"]
    assert (message.get("content") or "") == item["content"]
    if "tool_call" in item:
        assert choice["finish_reason"] == "tool_calls"
        function = message["tool_calls"][0]["function"]
        called = {"name": function["name"], "arguments": json.loads(function["arguments"])}
        assert called == item["tool_call"]
    else:
        assert choice["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == item["tokens"]["answer"]
    assert answer["usage"]["prompt_tokens"] == item["tokens"]["prompt"]
    assert answer["model"] == llama_server.model


@pytest.mark.parametrize("name", ["long", "unicode", "json"])
def test_streams(llama_server, name):
    item = llama_server.conversations[name]
    _, data = ask(llama_server, item, stream=True, stream_options={"include_usage": True})
    chunks = events(data)
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert "".join(c["delta"].get("content") or "" for c in choices) == item["content"]
    assert [c["finish_reason"] for c in choices if c["finish_reason"]] == ["stop"]
    assert chunks[-1]["usage"]["completion_tokens"] == item["tokens"]["answer"]


def test_streams_a_tool_call(llama_server):
    item = llama_server.conversations["tool_call"]
    _, data = ask(llama_server, item, stream=True)
    choices = [choice for chunk in events(data) for choice in chunk["choices"]]
    calls = [call for c in choices for call in c["delta"].get("tool_calls") or []]
    names = [call["function"]["name"] for call in calls if call["function"].get("name")]
    assert names == ["get_weather"]
    text = "".join(call["function"].get("arguments", "") for call in calls)
    assert json.loads(text) == item["tool_call"]["arguments"]
    assert choices[-1]["finish_reason"] == "tool_calls"


def test_json_by_a_schema(llama_server):
    properties = {
        "city": {"type": "string"},
        "country": {"type": "string"},
        "rivers": {"type": "integer"},
    }
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    item = llama_server.conversations["json"]
    _, data = ask(llama_server, item, response_format=wanted)
    content = json.loads(data)["choices"][0]["message"]["content"]
    assert json.loads(content) == json.loads(item["content"])


def test_stops_at_the_limit(llama_server):
    _, data = ask(llama_server, llama_server.conversations["long"], max_tokens=5)
    answer = json.loads(data)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5


def test_refuses_a_wrong_key(llama_server):
    status, data = ask(llama_server, llama_server.conversations["hello"], key="wrong-key")
    assert status == 401
    assert json.loads(data)["error"]["type"] == "authentication_error"


def test_refuses_a_bad_request(llama_server):
    item = {**llama_server.conversations["hello"], "messages": "not a list"}
    status, data = ask(llama_server, item)
    assert status >= 400
    assert "error" in json.loads(data)


def test_lists_its_model(llama_server):
    headers = {"Authorization": f"Bearer {llama_server.key}"}
    with requests.get(f"{llama_server.url}/v1/models", headers=headers, timeout=10) as answer:
        assert [model["id"] for model in answer.json()["data"]] == [llama_server.model]
