from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_backends.errors import ApiError, InvalidRequestError, InvalidResponseError, ServerError
from api_backends.protocols.openai_chat import read_chat
from api_backends.protocols.openai_stream import ChatStreamReader, chunks_of
from api_backends.types import ChatCompletionResponse, StreamChunk, ToolCall


def event(delta: Any, finish: Any = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c-1", "model": "m-1", "choices": [choice], **more}


def piece(arguments: Any = None, **fields: Any) -> dict[str, Any]:
    function = {"arguments": arguments} if arguments is not None else {}
    if "name" in fields:
        function["name"] = fields.pop("name")
    return {**fields, "function": function}


def calling(*pieces: dict[str, Any], finish: Any = None) -> dict[str, Any]:
    return event({"tool_calls": list(pieces)}, finish)


def read(
    events: list[dict[str, Any]], saw_done: bool = True
) -> tuple[list[StreamChunk], ChatCompletionResponse]:
    reader = ChatStreamReader(backend="b")
    chunks = [chunk for chunk in map(reader.read, events) if chunk is not None]
    return [*chunks, reader.end(saw_done)], reader.response()


def calls_of(events: list[dict[str, Any]]) -> list[ToolCall]:
    chunks, answer = read([*events, event({}, "tool_calls")])
    built: dict[int, list[str]] = {}
    for chunk in chunks:
        for part in chunk.tool_calls or []:
            call = built.setdefault(part.index, ["", "", ""])
            call[0] = call[0] or part.id
            call[1] += part.name
            call[2] += part.arguments
    assert [ToolCall(*built[place]) for place in sorted(built)] == answer.tool_calls
    return answer.tool_calls


def test_text_comes_piece_by_piece() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    events = [
        event({"role": "assistant", "content": ""}),
        event({"content": "Hel"}, usage=None),
        event({"content": "lo"}),
        event({}, "stop"),
        {"id": "c-1", "model": "m-1", "choices": [], "usage": usage},
    ]
    chunks, answer = read(events)
    assert [chunk.delta for chunk in chunks] == ["", "Hel", "lo", "", ""]
    assert [chunk.text for chunk in chunks] == ["", "Hel", "Hello", "Hello", "Hello"]
    assert [chunk.finish_reason for chunk in chunks] == [None, None, None, "stop", "stop"]
    assert [chunk.done for chunk in chunks] == [False] * 4 + [True]
    assert chunks[0].role == "assistant"
    assert chunks[1].raw is events[1]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 5
    assert (answer.id, answer.model, answer.content) == ("c-1", "m-1", "Hello")
    assert answer.raw["object"] == "chat.completion"


def test_every_key_that_a_delta_may_carry_is_seen_on_the_short_way_too() -> None:
    # Each of these comes together with text, where the short way must not take it for plain text.
    loaded: list[tuple[dict[str, Any], str]] = [
        ({"content": "a", "reasoning": "r"}, "reasoning"),
        ({"content": "a", "reasoning_content": "r"}, "reasoning"),
        ({"content": "a", "refusal": "no"}, "refusal"),
        ({"content": "a", "tool_calls": [piece("{}", index=0, id="x", name="f")]}, "tool_calls"),
        ({"content": "a", "function_call": {"name": "f", "arguments": "{}"}}, "tool_calls"),
    ]
    for delta, field in loaded:
        _, answer = read([event({"role": "assistant"}), event(delta)])
        assert answer[field]
        assert answer.content == "a"


def test_a_stream_knows_whether_it_has_ended() -> None:
    reader = ChatStreamReader()
    reader.read(event({"content": "half"}))
    assert not reader.finished
    assert reader.response().finish_reason is None
    assert reader.response().content == "half"
    assert reader.end(saw_done=True).finish_reason == "stop"
    assert reader.finished
    other = ChatStreamReader()
    other.read(event({"content": "all"}, "length"))
    assert other.finished
    assert other.end(saw_done=False).finish_reason == "length"


def test_first_events_without_id_and_model() -> None:
    filtered = {"id": "", "model": "", "choices": [], "prompt_filter_results": [{}]}
    blank = {**event({"role": "assistant", "content": ""}), "id": "", "model": ""}
    chunks, answer = read([filtered, blank, event({"content": "a"}), event({}, "stop")])
    assert (answer.id, answer.model) == ("c-1", "m-1")
    assert (chunks[1].id, chunks[1].model) == ("c-1", "m-1")


def test_the_last_usage_counts_wherever_it_is() -> None:
    def counted(tokens: int) -> dict[str, Any]:
        return {"prompt_tokens": 1, "completion_tokens": tokens}

    events = [event({"content": c}, usage=counted(n)) for n, c in enumerate("abc", 1)]
    chunks, answer = read([*events, event({}, "stop", usage=None)])
    assert answer.usage.total_tokens == 4
    assert chunks[-1].usage == answer.usage
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * 4
    _, groq = read([event({"content": "a"}), event({}, "stop", x_groq={"usage": counted(6)})])
    assert groq.usage.completion_tokens == 6


def test_other_choices_stay_out_of_the_text_but_in_raw() -> None:
    def of(index: int, text: str, finish: Any = None) -> dict[str, Any]:
        made = event({"content": text}, finish)
        made["choices"][0]["index"] = index
        return made

    chunks, answer = read(
        [of(0, "a"), of(1, "x"), of(0, "b"), of(1, "y", "stop"), of(0, "", "stop")]
    )
    assert answer.content == "ab"
    assert [chunk.delta for chunk in chunks] == ["a", "", "b", "", "", ""]
    assert [c["message"]["content"] for c in answer.raw["choices"]] == ["ab", "xy"]


def test_thinking_in_parts_and_details() -> None:
    events = [
        event({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}]}),
        event({"content": [{"type": "text", "text": "a"}]}),
    ]
    chunks, answer = read(events)
    assert (answer.reasoning, answer.content) == ("h", "a")
    assert [chunk.reasoning for chunk in chunks] == ["h", None, None]
    parts = [{"type": "reasoning.text", "text": t, "index": 0} for t in ("think", "ing")]
    parts.append({"type": "reasoning.text", "signature": "s", "index": 0})
    parts.append({"type": "reasoning.encrypted", "data": "d", "index": 0})
    _, answer = read([event({"content": "", "reasoning_details": [part]}) for part in parts])
    assert answer.reasoning == "thinking"
    assert answer.raw["choices"][0]["message"]["reasoning_details"] == [
        {"type": "reasoning.text", "text": "thinking", "signature": "s", "index": 0},
        {"type": "reasoning.encrypted", "data": "d", "index": 0},
    ]


def test_spoken_answers() -> None:
    events = [
        event({"audio": {"id": "a1", "transcript": "hel", "data": "AA"}}),
        event({"audio": {"transcript": "lo", "data": "BB"}}),
    ]
    chunks, answer = read(events)
    assert [chunk.delta for chunk in chunks] == ["hel", "lo", ""]
    assert answer.content == "hello"
    assert answer.raw["choices"][0]["message"]["audio"]["data"] == "AABB"


INTERLEAVED = [
    calling(piece("", index=0, id="a", name="f"), piece("", index=1, id="b", name="g")),
    calling(piece('{"x"', index=0)),
    calling(piece('{"y"', index=1)),
    calling(piece(": 1}", index=0), piece(": 2}", index=1)),
]


@pytest.mark.parametrize(
    ("events", "calls"),
    [
        (INTERLEAVED, [("a", "f", '{"x": 1}'), ("b", "g", '{"y": 2}')]),
        # no index: different ids must not collide
        (
            [calling(piece("{}", id="a", name="f"), piece("{}", id="b", name="g"))],
            [("a", "f", "{}"), ("b", "g", "{}")],
        ),
        # no index, pieces told apart by id
        (
            [
                calling(piece("[", id="a", name="f")),
                calling(piece("{", id="b", name="g")),
                calling(piece("]", id="a")),
                calling(piece("}", id="b")),
            ],
            [("a", "f", "[]"), ("b", "g", "{}")],
        ),
        # no index and no id after the first
        ([calling(piece("{", id="a", name="f")), calling(piece("}"))], [("a", "f", "{}")]),
        # neither index nor id at all: two whole calls
        (
            [calling(piece("{}", id="", name="f")), calling(piece("[]", id="", name="f"))],
            [("", "f", "{}"), ("", "f", "[]")],
        ),
        # counting from 1, or from -1
        (
            [calling(piece("{", index=1, id="a", name="f")), calling(piece("}", index=1))],
            [("a", "f", "{}")],
        ),
        ([calling(piece("{}", index=-1, id="a", name="f"))], [("a", "f", "{}")]),
        # id and name with every piece
        (
            [calling(piece(p, index=0, id="a", name="f")) for p in ('{"x"', ":1", "}")],
            [("a", "f", '{"x":1}')],
        ),
        # id "" or null and name "" with later pieces
        (
            [
                calling(piece("", index=0, id="a", name="f")),
                calling(piece("{", index=0, id="", name="")),
                calling(piece("}", index=0, id=None, name=None)),
            ],
            [("a", "f", "{}")],
        ),
        # every call under the same index
        (
            [calling(piece("{}", index=0, id=i, name="f")) for i in "abc"],
            [("a", "f", "{}"), ("b", "f", "{}"), ("c", "f", "{}")],
        ),
        # a new id with every piece, but no name: the same call
        (
            [
                calling(piece("{", index=0, id="a", name="f")),
                calling(piece("}", index=0, id="b")),
            ],
            [("a", "f", "{}")],
        ),
        # a name in pieces
        (
            [
                calling(piece(index=0, id="a", name="get_")),
                calling(piece("{}", index=0, name="it")),
            ],
            [("a", "get_it", "{}")],
        ),
        # arguments as an object, and an id that is a number
        ([calling(piece({"x": 1}, index=0, id=3, name="f"))], [("3", "f", '{"x": 1}')]),
    ],
)
def test_tool_calls(events: list[dict[str, Any]], calls: list[tuple[str, str, str]]) -> None:
    assert calls_of(events) == [ToolCall(*call) for call in calls]


def test_a_call_without_arguments_gets_an_empty_object() -> None:
    start = calling(piece("", index=0, id="a", name="f"))
    assert read([start, event({}, "tool_calls")])[1].tool_calls == [ToolCall("a", "f", "{}")]
    assert read([start, event({}, "length")])[1].tool_calls == [ToolCall("a", "f", "")]


def test_legacy_function_call() -> None:
    events = [
        event({"function_call": {"name": "f", "arguments": ""}}),
        event({"function_call": {"arguments": '{"a"'}}),
        event({"function_call": {"arguments": ":1}"}}),
        event({}, "function_call"),
    ]
    _, answer = read(events)
    assert answer.tool_calls == [ToolCall("", "f", '{"a":1}')]
    assert answer.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("failing", "cls"),
    [
        ({"error": {"message": "boom", "code": 502}}, ServerError),
        ({"error": {"message": "bad", "type": "invalid_request_error"}}, InvalidRequestError),
        ({"error": "boom"}, ServerError),
        (event({"content": ""}, "stop", error={"message": "boom", "code": 502}), ServerError),
        ({"choices": [{"index": 0, "error": {"code": 400, "message": "no"}}]}, InvalidRequestError),
        ({"object": "error", "message": "bad", "code": 400}, InvalidRequestError),
        (event({}, x_groq={"error": {"message": "bad", "code": 400}}), InvalidRequestError),
    ],
)
def test_an_error_in_a_stream_is_raised_and_what_came_before_is_kept(
    failing: dict[str, Any], cls: type[ApiError]
) -> None:
    reader = ChatStreamReader(backend="b")
    reader.read(event({"content": "so far"}))
    with pytest.raises(cls):
        reader.read(failing)
    assert reader.response().content == "so far"


def test_a_plain_error_event_beside_text_is_not_overlooked() -> None:
    reader = ChatStreamReader()
    reader.read(event({"content": "a"}))
    with pytest.raises(ServerError):
        reader.read(event({"content": "b"}, error={"message": "boom", "code": 500}))


def test_what_is_no_stream() -> None:
    with pytest.raises(InvalidResponseError, match="without an answer"):
        ChatStreamReader(backend="b").end(saw_done=True)
    with pytest.raises(InvalidResponseError, match="no JSON object"):
        ChatStreamReader().read(["not", "an", "object"])  # type: ignore[arg-type]


def test_a_whole_answer_as_chunks() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "hi", "tool_calls": [call]}
    whole = {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    answer = read_chat(whole)
    said, end = chunks_of(answer)
    assert (said.delta, said.text, said.done) == ("hi", "hi", False)
    assert said.tool_calls is not None
    assert said.tool_calls[0].id == "a"
    assert (end.delta, end.text, end.done, end.finish_reason) == ("", "hi", True, "tool_calls")


def test_an_index_that_is_none() -> None:
    odd = event({"content": "a"})
    for index in (None, [], {}, "0", True):
        odd["choices"][0]["index"] = index
        assert read([odd, odd])[1].content == "aa"


@st.composite
def cut_into_pieces(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def streamed_answers(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An answer, and the same as the events of a stream, its calls interleaved."""
    content = draw(st.text(max_size=12))
    thought = draw(st.text(max_size=8))
    names = draw(st.lists(st.sampled_from(["f", "g", "get_it"]), max_size=3))
    data = st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
    calls = [(f"id{n}", name, json.dumps(draw(data))) for n, name in enumerate(names)]
    finish = "tool_calls" if calls else draw(st.sampled_from(["stop", "length"]))
    message: dict[str, Any] = {"role": "assistant", "content": content or None}
    if thought:
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = [
            {"id": i, "type": "function", "function": {"name": n, "arguments": a}}
            for i, n, a in calls
        ]
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    whole = {
        "id": "c-1",
        "model": "m-1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": usage,
    }
    events = [event({"role": "assistant", "content": ""})]
    events += [event({"reasoning_content": p}) for p in draw(cut_into_pieces(thought))]
    events += [event({"content": p}) for p in draw(cut_into_pieces(content))]
    rest = [draw(cut_into_pieces(arguments)) for _, _, arguments in calls]
    events += [
        calling(piece("", index=n, id=i, name=name, type="function"))
        for n, (i, name, _) in enumerate(calls)
    ]
    while any(rest):
        turn = draw(st.sampled_from([n for n, pieces in enumerate(rest) if pieces]))
        events.append(calling(piece(rest[turn].pop(0), index=turn)))
    events.append(event({}, finish))
    events.append({"id": "c-1", "model": "m-1", "choices": [], "usage": usage})
    return whole, events


@settings(max_examples=150, deadline=None)
@given(streamed_answers())
def test_a_stream_says_what_the_whole_answer_says(
    case: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    whole, events = case
    expected = read_chat(whole)
    chunks, answer = read(events)
    for field in ("id", "model", "content", "role", "tool_calls", "finish_reason", "usage"):
        assert answer[field] == expected[field]
    assert (answer.reasoning, answer.refusal) == (expected.reasoning, expected.refusal)
    assert chunks[-1].text == expected.content


loose = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["", "a", "stop", "text"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "message",
                    "content",
                    "type",
                    "text",
                    "tool_calls",
                    "id",
                    "index",
                    "function",
                    "function_call",
                    "name",
                    "arguments",
                    "usage",
                    "finish_reason",
                    "audio",
                    "reasoning_details",
                    "role",
                    "transcript",
                    "thinking",
                    "prompt_tokens",
                    "custom",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)
deltas = st.dictionaries(
    st.sampled_from(["content", "role", "tool_calls", "reasoning_details", "audio", "refusal"]),
    loose,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(loose, st.builds(event, deltas, loose)), max_size=5))
def test_whatever_events_come_it_is_an_answer_or_a_typed_error(events: list[Any]) -> None:
    before = copy.deepcopy(events)
    reader = ChatStreamReader(backend="b")
    try:
        for one in events:
            chunk = reader.read(one)
            assert chunk is None or isinstance(chunk.text, str)
        reader.end(saw_done=True)
    except ApiError:
        pass  # typed, which is all that is asked of it
    assert isinstance(reader.response().content, str)
    assert events == before
