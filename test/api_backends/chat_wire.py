"""OpenAI-shaped answers for the fault server, small and exact."""

from __future__ import annotations

from servers import faults


def completion(text="hello", **fields):
    return {
        "id": "c1",
        "object": "chat.completion",
        "model": "echo",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        **fields,
    }


def delta(text, **fields):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None, **fields}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "echo", "choices": [choice]}


USAGE = {
    "id": "c1", "object": "chat.completion.chunk", "model": "echo", "choices": [],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}  # fmt: skip


def events(*texts, usage=True):
    """Return the events of a whole answer."""
    said = [delta(text) for text in texts]
    return [*said, delta("", finish_reason="stop"), *([USAGE] if usage else [])]


def chat(text="hello", **options):
    return faults.answer(completion(text), **options)


def stream(*texts, **options):
    return faults.sse(faults.sse_events(*events(*texts)), **options)
