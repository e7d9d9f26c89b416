"""The OpenAI-compatible stand-in: what it answers, and that it refuses what OpenAI refuses."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
from servers import openai_standin as standin
from servers.process import ServerProcess

PROGRAM = Path(standin.__file__)
HELLO = [{"role": "user", "content": "Hello, is\nanybody there? äöü 🎉"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


@pytest.fixture
def ask(openai_standin):
    def call(path="/v1/chat/completions", key=None, **body):
        body.setdefault("model", "sample-model")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with requests.post(openai_standin.url + path, json=body, headers=headers, timeout=10) as r:
            return r.status_code, r.content

    return call


def events(data):
    lines = data.decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def test_repeats_the_last_message(ask):
    status, data = ask(messages=HELLO)
    answer = json.loads(data)
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == HELLO[0]["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] == 12


def test_streams_the_same(ask):
    options = {"include_usage": True}
    chunks = events(ask(messages=HELLO, stream=True, stream_options=options)[1])
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert deltas[0]["role"] == "assistant"
    assert "".join(d.get("content") or "" for d in deltas) == HELLO[0]["content"]
    assert len(deltas) == 8
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 6
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert "usage" not in events(ask(messages=HELLO, stream=True)[1])[-1]


@pytest.mark.parametrize("stream", [False, True])
def test_calls_the_tools_asked_for(ask, stream):
    text = 'call add {"a": 1, "b": {"c": 2}}\ncall other {}\ncall add {"a": 3}'
    messages = [{"role": "user", "content": text}]
    data = ask(messages=messages, tools=[TOOL], stream=stream)[1]
    if stream:
        choices = [choice for chunk in events(data) for choice in chunk["choices"]]
        calls = {}
        for delta in (c for choice in choices for c in choice["delta"].get("tool_calls", [])):
            call = calls.setdefault(delta["index"], {"arguments": ""})
            call["name"] = delta["function"].get("name") or call["name"]
            call["arguments"] += delta["function"]["arguments"]
        calls, reason = list(calls.values()), choices[-1]["finish_reason"]
    else:
        choice = json.loads(data)["choices"][0]
        calls, reason = [c["function"] for c in choice["message"]["tool_calls"]], "tool_calls"
        assert choice["message"]["content"] is None
        assert choice["finish_reason"] == reason
    assert reason == "tool_calls"
    assert [(c["name"], json.loads(c["arguments"])) for c in calls] == [
        ("add", {"a": 1, "b": {"c": 2}}),
        ("add", {"a": 3}),
    ]


def test_answers_after_a_tool_result(ask):
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "3"}
    data = ask(messages=[*HELLO, turn, result], tools=[TOOL])[1]
    assert json.loads(data)["choices"][0]["message"]["content"] == "3"
    for broken in ([*HELLO, turn, *HELLO], [*HELLO, turn, {**result, "tool_call_id": "c2"}]):
        assert ask(messages=broken)[0] == 400


def test_json_answers(ask):
    data = ask(messages=HELLO, response_format={"type": "json_object"})[1]
    content = json.loads(data)["choices"][0]["message"]["content"]
    assert json.loads(content) == {"echo": HELLO[0]["content"]}
    properties = {"n": {"type": "integer"}, "tags": {"type": "array", "items": {"enum": ["x"]}}}
    schema = {"type": "object", "properties": properties, "required": ["n", "tags"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    content = json.loads(ask(messages=HELLO, response_format=wanted)[1])["choices"][0]["message"]
    assert json.loads(content["content"]) == {"n": len(HELLO[0]["content"]), "tags": ["x"]}


def test_limits_and_stop_words(ask):
    cut = json.loads(ask(messages=HELLO, max_tokens=2)[1])["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == ("Hello, is", "length")
    stopped = json.loads(ask(messages=HELLO, stop=["any"], n=2)[1])["choices"]
    assert [c["message"]["content"] for c in stopped] == ["Hello, is\n"] * 2


def test_reads_images(ask):
    data = base64.b64encode(b"12345").decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    parts = [{"type": "text", "text": "see"}, image]
    answer = json.loads(ask(messages=[{"role": "user", "content": parts}])[1])
    assert answer["choices"][0]["message"]["content"] == "see [image of 5 bytes]"
    image["image_url"]["url"] = "data:image/png;base64,!!!"
    assert ask(messages=[{"role": "user", "content": parts}])[0] == 400


def test_embeds(ask):
    texts = ["a cat sat", "a cat sat down", "quantum fields"]
    answer = json.loads(ask("/v1/embeddings", input=texts, model="sample-embedding")[1])
    vectors = np.array([row["embedding"] for row in answer["data"]])
    assert vectors.shape == (3, 64)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert vectors[0] @ vectors[1] > 0.7 > 0.4 > vectors[0] @ vectors[2]
    packed = json.loads(ask("/v1/embeddings", input=texts, encoding_format="base64")[1])
    decoded = [np.frombuffer(base64.b64decode(r["embedding"]), "<f4") for r in packed["data"]]
    assert np.allclose(decoded, vectors, atol=1e-6)
    short = json.loads(ask("/v1/embeddings", input="one", dimensions=8)[1])
    assert len(short["data"][0]["embedding"]) == 8


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
        ({"messages": HELLO, "temperature": 3}, "temperature"),
        ({"messages": HELLO, "temperature": "hot"}, "temperature"),
        ({"messages": HELLO, "top_k": 4}, None),
        ({"messages": HELLO, "max_tokens": 0}, "max_tokens"),
        ({"messages": HELLO, "tools": [{"name": "add"}]}, "tools[0]"),
        ({"messages": HELLO, "tool_choice": "auto"}, None),
        ({"messages": HELLO, "logprobs": True}, "logprobs"),
        ({"messages": HELLO, "response_format": {"type": "xml"}}, "response_format"),
    ],
)
def test_refuses_what_openai_refuses(ask, body, where):
    status, data = ask(**body)
    error = json.loads(data)["error"]
    assert status == 400
    assert error["type"] == "invalid_request_error"
    assert (error["param"] or "").startswith(where or "")
    assert error["message"]


def test_refuses_bodies_that_are_not_json(openai_standin):
    url = f"{openai_standin.url}/v1/chat/completions"
    headers = {"Content-Type": "application/json"}
    for body in (b"{", b'{"model": "sample-model", "messages": [], "temperature": NaN}'):
        with requests.post(url, data=body, headers=headers, timeout=10) as answer:
            assert answer.status_code == 400
            assert "not JSON" in answer.json()["error"]["message"]


def test_knows_its_models(ask, openai_standin):
    status, data = ask(messages=HELLO, model="gpt-unknown")
    assert (status, json.loads(data)["error"]["code"]) == (404, "model_not_found")
    with requests.get(f"{openai_standin.url}/v1/models", timeout=10) as answer:
        assert [m["id"] for m in answer.json()["data"]] == ["sample-model", "sample-embedding"]
    with requests.get(f"{openai_standin.url}/v1/models/nope", timeout=10) as answer:
        assert answer.status_code == 404
    assert ask("/v1/nowhere")[0] == 404


def test_asks_for_its_key(keyed_openai_standin):
    url = f"{keyed_openai_standin.url}/v1/models"
    for key, status in ((keyed_openai_standin.key, 200), ("sk-wrong", 401)):
        headers = {"Authorization": f"Bearer {key}"}
        with requests.get(url, headers=headers, timeout=10) as answer:
            assert answer.status_code == status
    assert "sk-wrong" in answer.json()["error"]["message"]
    assert keyed_openai_standin.requests[-1]["headers"]["authorization"] == "Bearer sk-wrong"


def test_runs_as_a_program():
    command = [sys.executable, str(PROGRAM), "--key", "k", "--model", "mine"]
    with ServerProcess(command, ready=r"listening on (\S+)", timeout=20) as server:
        url = f"{server.ready_match[1]}/v1/models"
        with requests.get(url, headers={"Authorization": "Bearer k"}, timeout=10) as answer:
            assert [m["id"] for m in answer.json()["data"]] == ["mine"]
