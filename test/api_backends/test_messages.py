from __future__ import annotations

import base64
import copy
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_backends.errors import InvalidRequestError
from api_backends.messages import assistant_message, normalize_messages
from api_backends.types import ChatCompletionResponse, ToolCall

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(20)).decode()
HELLO = base64.b64encode(b"hello, I am a text").decode()
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ASKING = {"role": "assistant", "content": None, "tool_calls": [CALL]}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def image(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_a_text_is_one_message_of_the_user() -> None:
    assert normalize_messages("hi") == [{"role": "user", "content": "hi"}]


def test_what_is_right_is_handed_on_uncopied() -> None:
    messages: list[Any] = [
        {"role": "system", "content": "be brief"},
        {"role": "developer", "content": [{"type": "text", "text": "very"}]},
        user(
            {"type": "text", "text": "what is this?", "cache_control": {"type": "ephemeral"}},
            image(f"data:image/png;base64,{PNG}"),
            image("https://example.com/a.png"),
            {"type": "image_url", "image_url": "http://example.com/a.png"},
            {"type": "input_audio", "input_audio": {"data": HELLO, "format": "wav"}},
            {"type": "file", "file": {"file_id": "f1"}},
            {"type": "file", "file": {"filename": "a", "file_data": f"data:x/y;base64,{HELLO}"}},
            {"type": "video_url", "video_url": {"url": "gs://anything"}},
        ),
        ASKING,
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": None, "function_call": {"name": "g", "arguments": "{}"}},
        {"role": "function", "name": "g", "content": "5"},
        {"role": "user", "content": ""},
    ]
    before = copy.deepcopy(messages)
    assert normalize_messages(messages) is messages
    assert messages == before


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([], "messages is empty"),
        ("", "messages is an empty text"),
        (None, "messages must be"),
        (7, "messages must be"),
        ({"role": "user", "content": "hi"}, "messages must be"),
        (["hi"], r"messages\[0\] is str"),
        ([{"content": "hi"}], r"messages\[0\]\.role"),
        ([{"role": "owner", "content": "hi"}], r"messages\[0\]\.role is 'owner'"),
        ([{"role": ["user"], "content": "hi"}], r"messages\[0\]\.role"),
        ([{"role": "user"}], r"messages\[0\]\.content is missing"),
        ([{"role": "user", "content": None}], r"messages\[0\]\.content"),
        ([{"role": "user", "content": 3}], r"messages\[0\]\.content is int"),
        ([{"role": "user", "content": []}], r"messages\[0\]\.content is an empty list"),
        ([{"role": "assistant", "content": None}], r"messages\[0\]\.content"),
        ([{"role": "function", "content": "a"}], r"messages\[0\]\.name"),
        ([user("text")], r"messages\[0\]\.content\[0\] is str"),
        ([user({"text": "a"})], r"messages\[0\]\.content\[0\]\.type"),
        ([user({"type": "text", "text": 3})], r"content\[0\]\.text"),
        (["hi", user()], r"messages\[0\]"),
        ([user({"type": "image_url"})], r"content\[0\]\.image_url is missing"),
        ([user(image(None))], r"content\[0\]\.image_url\.url is missing"),
        ([user(image("/tmp/a.png"))], r"image_url\.url is neither"),
        ([user(image("gs://a/b.png"))], r"image_url\.url is neither"),
        ([user(image("data:image/png,abc"))], "not a base64 data URL"),
        ([user(image("data:image/png;base64,!!!!"))], "not valid base64"),
        ([user(image("data:image/png;base64,é"))], "not valid base64"),
        ([user(image("data:image/png;base64,"))], "is empty"),
        ([user(image(f"data:image/png;base64,{HELLO}"))], "bytes are not an image"),
        ([user(image(f"data:text/plain;base64,{HELLO}"))], "says that it holds text/plain"),
        (
            [user(image(f"data:image/png;base64,{JPEG}"))],
            "bytes are image/jpeg: write data:image/jpeg",
        ),
        ([user({"type": "input_audio", "input_audio": {"data": HELLO}})], r"input_audio\.format"),
        (
            [user({"type": "input_audio", "input_audio": {"data": "!", "format": "wav"}})],
            r"input_audio\.data is not valid base64",
        ),
        ([user({"type": "input_audio"})], "input_audio is missing"),
        ([user({"type": "file", "file": {}})], r"content\[0\]\.file is missing"),
        ([user({"type": "file", "file": {"file_data": 3}})], r"file\.file_data"),
        ([{**ASKING, "tool_calls": 3}], r"messages\[0\]\.tool_calls is int"),
        ([{**ASKING, "tool_calls": ["f"]}], r"messages\[0\]\.tool_calls\[0\] is str"),
        ([{**ASKING, "tool_calls": [{"id": "a"}]}], r"tool_calls\[0\]\.function\.name"),
        (
            [{"role": "tool", "tool_call_id": "c1", "content": "4"}],
            r"tool_call_id is 'c1', which no",
        ),
        ([{"role": "tool", "content": "4"}], r"messages\[0\]\.tool_call_id is missing"),
        (
            [ASKING, {"role": "tool", "tool_call_id": 1, "content": "4"}],
            r"\[1\]\.tool_call_id is int",
        ),
        ([ASKING, {"role": "tool", "tool_call_id": "x", "content": ""}], r"tool_call_id is 'x'"),
    ],
)
def test_what_is_wrong_is_refused_by_place(messages: Any, place: str) -> None:
    with pytest.raises(InvalidRequestError, match=place):
        normalize_messages(messages)


def test_the_place_deep_in_a_conversation() -> None:
    talk = [*normalize_messages("hi"), {"role": "assistant", "content": "yes?"}]
    parts = [{"type": "text", "text": "this"}, image("data:image/gif;base64,AAAA")]
    with pytest.raises(InvalidRequestError) as caught:
        normalize_messages([*talk, user(*parts)])
    assert "messages[2].content[1].image_url.url" in str(caught.value)


def test_a_result_without_an_id_only_where_one_call_waits() -> None:
    bare = {"role": "tool", "content": "4"}
    assert normalize_messages([ASKING, bare]) == [ASKING, bare]
    both = {**ASKING, "tool_calls": [CALL, {**CALL, "id": "c2"}]}
    with pytest.raises(InvalidRequestError, match="tool_call_id is missing"):
        normalize_messages([both, bare])
    with pytest.raises(InvalidRequestError, match="tool_call_id is missing"):
        normalize_messages([ASKING, bare, bare])


def test_every_image_format_is_known() -> None:
    heads = {
        "png": b"\x89PNG\r\n\x1a\n",
        "jpeg": b"\xff\xd8\xff\xe1",
        "jpg": b"\xff\xd8\xff\xe1",
        "gif": b"GIF89a",
        "webp": b"RIFF\x01\x00\x00\x00WEBPVP8 ",
        "bmp": b"BM" + bytes(24),
        "tiff": b"II*\x00",
        "avif": b"\x00\x00\x00\x20ftypavif",
        "heic": b"\x00\x00\x00\x20ftypheic",
        "svg+xml": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
    for kind, head in heads.items():
        data = base64.b64encode(head + bytes(16)).decode()
        normalize_messages([user(image(f"data:image/{kind};base64,{data}"))])
        normalize_messages([user(image(f"DATA:Image/{kind.upper()};charset=x;BASE64,{data}"))])


def test_other_mappings_and_sequences_become_plain_data() -> None:
    frozen = MappingProxyType({"role": "user", "content": "hi"})
    given_ = (frozen, {"role": "assistant", "content": "ho"})
    found = normalize_messages(given_)
    assert found == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    assert type(found[0]) is dict
    assert found[1] is given_[1]


def test_answers_and_calls_of_ours_in_the_history() -> None:
    answer = ChatCompletionResponse(content="", tool_calls=[ToolCall("c1", "f", "{}")])
    result = {"role": "tool", "tool_call_id": "c1", "content": "4"}
    assert normalize_messages([answer, result]) == [ASKING, result]
    with_objects = {"role": "assistant", "content": None, "tool_calls": answer.tool_calls}
    assert normalize_messages([with_objects, result]) == [ASKING, result]
    assert with_objects["tool_calls"] is answer.tool_calls


def raw(**message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **message}}]}


def test_what_providers_want_back() -> None:
    call = ToolCall("c1", "f", "{}")
    deepseek = ChatCompletionResponse(tool_calls=[call], raw=raw(reasoning_content="r"))
    assert assistant_message(deepseek)["reasoning_content"] == "r"
    # DeepSeek refuses it where no tool is called.
    plain = ChatCompletionResponse(content="a", raw=raw(reasoning_content="r"))
    assert assistant_message(plain) == {"role": "assistant", "content": "a"}
    details = [{"type": "reasoning.encrypted", "data": "d"}]
    router = ChatCompletionResponse(content="a", raw=raw(reasoning_details=details))
    assert assistant_message(router)["reasoning_details"] == details
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}]
    mistral = ChatCompletionResponse(content="a", raw=raw(content=parts))
    assert assistant_message(mistral)["content"] == parts
    spoken = ChatCompletionResponse(content="a", raw=raw(audio={"id": "x", "transcript": "a"}))
    assert assistant_message(spoken)["audio"] == {"id": "x"}
    legacy = {"name": "f", "arguments": "{}"}
    old = ChatCompletionResponse(
        tool_calls=[ToolCall("", "f", "{}")], raw=raw(function_call=legacy)
    )
    assert assistant_message(old)["function_call"] == legacy
    refused = ChatCompletionResponse(refusal="no")
    for response in (deepseek, plain, router, mistral, spoken, old, refused):
        normalize_messages([response])


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["", "user", "tool", "text", "data:"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "type",
                    "text",
                    "image_url",
                    "url",
                    "tool_calls",
                    "tool_call_id",
                    "id",
                    "function",
                    "name",
                    "file",
                    "file_data",
                    "input_audio",
                    "data",
                    "format",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
loose_messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant", "tool", "function"]),
        "content": anything,
    },
    optional={"tool_calls": anything, "tool_call_id": anything, "name": anything},
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(anything, st.lists(loose_messages, max_size=3)))
def test_whatever_comes_it_is_a_list_or_a_typed_error(messages: Any) -> None:
    before = copy.deepcopy(messages)
    try:
        found = normalize_messages(messages)
    except InvalidRequestError as error:
        assert "messages" in str(error)  # noqa: PT017  the property is about either outcome
    else:
        assert all(type(message) is dict for message in found)
    assert messages == before
