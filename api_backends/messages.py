"""What callers say to a model: one shape of messages for every back end, checked before sending.

The shape is OpenAI's (https://platform.openai.com/docs/api-reference/chat/create): a list of
`{"role", "content"}`, content being a text or a list of parts. A bad message is refused here, with
its place and the remedy, instead of by some server after a while. What is right is passed on as it
is, untouched and not copied; parts of a type not known here too, since providers have their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .attachments import check_base64, check_image_url
from .errors import InvalidRequestError
from .types import ChatCompletionResponse, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["AssistantMessage", "assistant_message", "normalize_messages"]

_ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
# What an assistant can have said instead of text.
_INSTEAD_OF_CONTENT = (
    "tool_calls",
    "function_call",
    "refusal",
    "audio",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
)


class AssistantMessage(dict[str, Any]):
    """An answer as a message; `raw` is what its provider sent, for when it goes back to the same.

    Some providers sign what their models thought and want it back unchanged. To all others this is
    the plain message that it reads as.
    """

    __slots__ = ("raw",)

    def __init__(self, message: Mapping[str, Any], raw: Any) -> None:
        super().__init__(message)
        self.raw = raw


def normalize_messages(
    messages: str | Sequence[Mapping[str, Any] | ChatCompletionResponse],
) -> list[dict[str, Any]]:
    """Return the messages of a conversation as a checked list of dictionaries.

    Args:
        messages: A text (one message of the user), or a list of messages with `role` (system,
            developer, user, assistant, tool; the older `function`) and `content`; a
            ChatCompletionResponse stands for the assistant's message that it brought.

    Returns:
        The list that was given where nothing had to change, else a new one; what was given is
        never changed.

    Raises:
        InvalidRequestError: A message is not one; the error names its place, such as
            `messages[3].content[1].image_url.url`, and what to do.
    """
    if isinstance(messages, str):
        if not messages:
            raise InvalidRequestError("messages is an empty text: say something to the model")
        return [{"role": "user", "content": messages}]
    if isinstance(messages, (ChatCompletionResponse, Mapping)) or not isinstance(
        messages, (list, tuple)
    ):
        raise InvalidRequestError(
            "messages must be a text or a list of messages like "
            f'{{"role": "user", "content": "…"}}, not {type(messages).__name__}'
        )
    if not messages:
        raise InvalidRequestError("messages is empty: give at least one message")
    changed = messages.__class__ is not list
    result: list[dict[str, Any]] = []
    calls = _OpenCalls()
    for place, message in enumerate(messages):
        plain = message if message.__class__ is dict else _as_dict(message, place)
        role = plain.get("role")
        if role == "user" and plain.get("content").__class__ is str:
            result.append(plain)  # the common case needs no more
            changed = changed or plain is not message
            continue
        checked = _checked(plain, role, f"messages[{place}]", calls)
        changed = changed or checked is not message
        result.append(checked)
    return result if changed else messages  # type: ignore[return-value]


def assistant_message(response: ChatCompletionResponse) -> AssistantMessage:
    """Return an answer as the message of the assistant that goes into the history.

    Besides text and tool calls it has what some providers want back: `reasoning_details`
    (OpenRouter), `reasoning_content` of a turn that calls tools (DeepSeek requires it there and
    nowhere else), Mistral's list of thinking and text, the id of spoken audio, a refusal.
    """
    said = _raw_message(response.raw)
    content: Any = response.content
    if isinstance(said.get("content"), list):
        content = said["content"]
    elif not content and response.tool_calls:
        content = None
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if response.tool_calls:
        legacy = said.get("function_call")
        if isinstance(legacy, dict) and not said.get("tool_calls"):
            message["function_call"] = legacy
        else:
            message["tool_calls"] = [_call_as_dict(call) for call in response.tool_calls]
        if isinstance(said.get("reasoning_content"), str):
            message["reasoning_content"] = said["reasoning_content"]
    if said.get("reasoning_details"):
        message["reasoning_details"] = said["reasoning_details"]
    if response.refusal:
        message["refusal"] = response.refusal
    audio = said.get("audio")
    if isinstance(audio, dict) and audio.get("id"):
        message["audio"] = {"id": audio["id"]}
        message["content"] = None
    return AssistantMessage(message, response.raw)


class _OpenCalls:
    """The tool calls of a conversation so far: what a tool's result may answer."""

    __slots__ = ("known", "open")

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.open: set[str] = set()  # of the latest turn, not answered yet

    def begin(self, calls: list[Any]) -> None:
        self.open = {call["id"] for call in calls if isinstance(call.get("id"), str)}
        self.known |= self.open


def _checked(message: dict[str, Any], role: Any, where: str, calls: _OpenCalls) -> dict[str, Any]:
    """Return the message, or a copy with plain data where it holds objects of ours."""
    if role.__class__ is not str or role not in _ROLES:
        raise _bad(
            f"{where}.role", f"is {role!r}", "use system, developer, user, assistant or tool"
        )
    if role == "assistant":
        message = _checked_assistant(message, where, calls)
    elif role == "tool":
        _check_tool_result(message, where, calls)
    elif role == "function" and not isinstance(message.get("name"), str):
        raise _bad(f"{where}.name", "is missing", "name the function whose result this is")
    _check_content(message, role, where)
    return message


def _checked_assistant(message: dict[str, Any], where: str, calls: _OpenCalls) -> dict[str, Any]:
    wanted = message.get("tool_calls")
    if not wanted:
        content = message.get("content")
        blocks = content if isinstance(content, list) else []
        own = [p for p in blocks if isinstance(p, dict) and p.get("type") == "tool_use"]
        if own:  # Anthropic's shape of calls
            calls.begin(own)
        return message
    if not isinstance(wanted, (list, tuple)):
        raise _bad(f"{where}.tool_calls", f"is {type(wanted).__name__}", "give a list of calls")
    plain = [_call_as_dict(c) if isinstance(c, ToolCall) else c for c in wanted]
    for place, call in enumerate(plain):
        spot = f"{where}.tool_calls[{place}]"
        if not isinstance(call, dict):
            raise _bad(spot, f"is {type(call).__name__}", "give a ToolCall or a dictionary")
        function = call.get("function")
        if call.get("type", "function") == "function" and (
            not isinstance(function, dict) or not isinstance(function.get("name"), str)
        ):
            raise _bad(f"{spot}.function.name", "is missing", "name the function called")
    calls.begin(plain)
    if any(new is not old for new, old in zip(plain, wanted, strict=True)):
        return {**message, "tool_calls": plain}
    return message


def _check_tool_result(message: dict[str, Any], where: str, calls: _OpenCalls) -> None:
    answered = message.get("tool_call_id")
    spot = f"{where}.tool_call_id"
    if answered is None:
        # Some servers do without where there is only one call that it can answer.
        if len(calls.open) == 1:
            calls.open.clear()
            return
        raise _bad(spot, "is missing", "give the id of the assistant's tool call that this answers")
    if not isinstance(answered, str):
        raise _bad(spot, f"is {type(answered).__name__}", "give the id of the tool call, a text")
    if answered not in calls.known:
        raise _bad(
            spot,
            f"is {answered!r}, which no assistant message before it calls",
            "keep the assistant's message with its tool_calls in front of the results",
        )
    calls.open.discard(answered)


def _check_content(message: dict[str, Any], role: str, where: str) -> None:
    content = message.get("content")
    if content.__class__ is str or isinstance(content, str):
        return
    spot = f"{where}.content"
    if content is None:
        if role == "assistant" and any(message.get(name) for name in _INSTEAD_OF_CONTENT):
            return
        raise _bad(spot, "is missing", "give a text (it may be empty), or a list of parts")
    if not isinstance(content, (list, tuple)):
        raise _bad(spot, f"is {type(content).__name__}", "give a text or a list of parts")
    if not content and not (role == "assistant" and message.get("tool_calls")):
        raise _bad(spot, "is an empty list", "give at least one part, or a text")
    for place, part in enumerate(content):
        _check_part(part, f"{spot}[{place}]")


def _check_part(part: Any, where: str) -> None:
    if not isinstance(part, dict):
        kind = type(part).__name__
        raise _bad(where, f"is {kind}", 'give parts like {"type": "text", "text": "…"}')
    named = part.get("type")
    if not isinstance(named, str):
        raise _bad(f"{where}.type", "is missing", "say text, image_url, input_audio or file")
    check = _PART_CHECKS.get(named)
    if check is not None:
        check(part, where)


def _check_text(part: dict[str, Any], where: str) -> None:
    if not isinstance(part.get("text"), str):
        raise _bad(f"{where}.text", f"is {type(part.get('text')).__name__}", "give a text")


def _check_image(part: dict[str, Any], where: str) -> None:
    image = part.get("image_url")
    spot = f"{where}.image_url"
    if isinstance(image, dict):
        image, spot = image.get("url"), f"{spot}.url"
    if not isinstance(image, str) or not image:
        raise _bad(spot, "is missing", "give an https URL, or a data URL of an image")
    check_image_url(image, spot)


def _check_audio(part: dict[str, Any], where: str) -> None:
    audio = part.get("input_audio")
    spot = f"{where}.input_audio"
    if isinstance(audio, dict):
        if not isinstance(audio.get("format"), str):
            raise _bad(f"{spot}.format", "is missing", 'say what the sound is: "wav" or "mp3"')
        audio, spot = audio.get("data"), f"{spot}.data"
    if not isinstance(audio, str) or not audio:
        raise _bad(spot, "is missing", "give the sound as base64")
    check_base64(audio, spot, "the sound")


def _check_file(part: dict[str, Any], where: str) -> None:
    file = part.get("file")
    spot = f"{where}.file"
    if isinstance(file, str) and file:
        return
    if not isinstance(file, dict) or not file:
        raise _bad(spot, "is missing", "give {file_id} or {filename, file_data}")
    data = file.get("file_data")
    if data is None:
        return
    if not isinstance(data, str) or not data:
        raise _bad(f"{spot}.file_data", "is not a text", "give a data URL of the file")
    check_base64(data, f"{spot}.file_data", "the file")


_PART_CHECKS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "text": _check_text,
    "image_url": _check_image,
    "input_audio": _check_audio,
    "file": _check_file,
}


def _as_dict(message: Any, place: int) -> dict[str, Any]:
    if isinstance(message, ChatCompletionResponse):
        return assistant_message(message)
    if isinstance(message, AssistantMessage):
        return message
    if isinstance(message, Mapping):
        return dict(message)
    raise _bad(
        f"messages[{place}]",
        f"is {type(message).__name__}",
        'give messages like {"role": "user", "content": "…"}',
    )


def _call_as_dict(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _raw_message(raw: Any) -> dict[str, Any]:
    """Return the message of an OpenAI-shaped answer, {} where it is of another shape."""
    choices = raw.get("choices") if isinstance(raw, dict) else None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("index", 0) == 0:
            message = choice.get("message")
            return message if isinstance(message, dict) else {}
    return {}


def _bad(where: str, what: str, remedy: str) -> InvalidRequestError:
    return InvalidRequestError(f"{where} {what}: {remedy}")
