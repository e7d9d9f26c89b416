"""`transformers serve` with the reciting model says what it must, in its own dialect."""

from __future__ import annotations

import json

import pytest
import requests

pytestmark = [pytest.mark.real("transformers serve"), pytest.mark.slow]


def ask(server, item, **options):
    body = {"model": server.model, "messages": item["messages"], "max_tokens": 400, **options}
    if item["tools"]:
        body["tools"] = item["tools"]
    url = f"{server.url}/v1/chat/completions"
    with requests.post(url, json=body, timeout=60) as answer:
        assert answer.status_code == 200, answer.text
        return answer.content


@pytest.mark.parametrize("name", ["hello", "unicode", "tool_result"])
def test_recites(transformers_serve, name):
    item = transformers_serve.conversations[name]
    answer = json.loads(ask(transformers_serve, item))
    text = answer["choices"][0]["message"]["content"]
    assert text.removesuffix("<|im_end|>") == item["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_calls_a_tool(transformers_serve):
    item = transformers_serve.conversations["tool_call"]
    choice = json.loads(ask(transformers_serve, item))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    function = choice["message"]["tool_calls"][0]["function"]
    called = {"name": function["name"], "arguments": json.loads(function["arguments"])}
    assert called == item["tool_call"]


def test_streams(transformers_serve):
    item = transformers_serve.conversations["count"]
    data = ask(transformers_serve, item, stream=True).decode()
    lines = [line for line in data.splitlines() if line.startswith("data: ")]
    chunks = [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    assert text.removesuffix("<|im_end|>") == item["content"]
    assert chunks[-1]["usage"]["completion_tokens"] > 0
