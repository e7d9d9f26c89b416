"""Anthropic's own SDK and `chat()` say the same conversations to the same server: bodies agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from servers import faults
from servers.claude_conversations import CONVERSATIONS, LIMIT, MODEL, Conversation
from servers.fault_server import FaultServer
from wire.anthropic_recordings import comparable

from api_backends.claude import Claude

anthropic = pytest.importorskip("anthropic", reason="pip install anthropic, to compare with it")

KEY = "sk-ant-test-0123456789"
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1},
}
STREAM = [
    {"type": "message_start", "message": {**ANSWER, "content": [], "stop_reason": None}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
    {"type": "message_stop"},
]
# Headers that say who is calling and for what.
COMPARED = ("x-api-key", "anthropic-version", "anthropic-beta", "content-type", "authorization")


@pytest.fixture
def server():
    def answer(exchange):
        if exchange.request.json().get("stream"):
            named = [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in STREAM]
            faults.sse(named)(exchange)
        else:
            faults.answer(ANSWER)(exchange)

    with FaultServer(then=answer) as fault_server:
        yield fault_server


def said_by_the_sdk(url: str, conversation: Conversation, *, stream: bool) -> None:
    wanted = {"model": MODEL, "max_tokens": LIMIT, **conversation.sdk}
    # Its `top_k` and `temperature` warn on new models; nothing of that concerns us here.
    with anthropic.Anthropic(api_key=KEY, base_url=url, max_retries=0) as client:
        if conversation.betas:
            wanted["betas"] = list(conversation.betas)
            create = client.beta.messages.create
        else:
            create = client.messages.create
        answer = create(**wanted, stream=stream)
        if stream:
            assert [event.type for event in answer] == [event["type"] for event in STREAM]


def said_by_us(url: str, conversation: Conversation, *, stream: bool) -> None:
    options: dict[str, Any] = dict(conversation.options)
    with Claude(metadata={"api_key": KEY, "api_base": url}) as backend:
        if stream:
            with backend.stream_chat(conversation.messages, **options) as chunks:
                assert list(chunks)[-1].done
        else:
            assert backend.chat(conversation.messages, **options).content == "Hello"


def test_there_are_forty() -> None:
    assert len(CONVERSATIONS) == 40
    assert len({conversation.name for conversation in CONVERSATIONS}) == 40


@pytest.mark.filterwarnings("default::DeprecationWarning")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda c: c.name)
def test_bodies_and_headers_agree(
    server: FaultServer, conversation: Conversation, stream: bool
) -> None:
    said_by_the_sdk(server.url, conversation, stream=stream)
    said_by_us(server.url, conversation, stream=stream)
    theirs, ours = server.requests
    assert ours.path == theirs.path.removesuffix("?beta=true") == "/v1/messages"
    assert comparable(ours.json()) == comparable(theirs.json())
    assert ours.json()["max_tokens"] == theirs.json()["max_tokens"]
    headers = [{k: r.headers.get(k) for k in COMPARED} for r in (ours, theirs)]
    assert headers[0] == headers[1]
    assert headers[0]["x-api-key"] == KEY
