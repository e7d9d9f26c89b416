"""Messages as Gemini's contents: roles, parts, function calls and their results.

https://ai.google.dev/api/caching#Content. What differs from OpenAI's shape: system prompts stand
outside of the conversation, the assistant is `model`, results of functions are the user's and come
together, arguments and results are objects, and a call may carry a `thoughtSignature` that must
come back with it (https://ai.google.dev/gemini-api/docs/thought-signatures).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from api_backends.errors import InvalidRequestError
from api_backends.messages import AssistantMessage

from .gemini_media import attachment, check_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CALL_PREFIX", "Conversation", "is_third_generation", "read_messages"]

CALL_PREFIX = "gemini-call-"
"""How ids begin that we made up, since Gemini gave none: they are not sent back to it."""

# What Google's documentation says to send for a call that another model made.
NO_SIGNATURE = "skip_thought_signature_validator"

_NATIVE = (
    "inlineData", "inline_data", "fileData", "file_data", "functionCall", "function_call",
    "functionResponse", "function_response", "executableCode", "codeExecutionResult", "toolCall",
    "toolResponse",
)  # fmt: skip
_RESOLUTIONS = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}


class Conversation:
    """Messages translated: contents, system instruction, and what the whole request must say.

    Attributes:
        contents: The turns.
        system: The texts of the system prompts.
        resolution: Of all images, for models that know none for each.
    """

    def __init__(self, model: str | None, signatures: Mapping[str, str]) -> None:
        self.contents: list[dict[str, Any]] = []
        self.system: list[str] = []
        self.resolution: str | None = None
        self._each_resolution = is_third_generation(model)
        self._needs_signatures = is_third_generation(model)
        self._signatures = signatures
        self._details: set[str] = set()
        self._names: dict[str, str] = {}  # id of a call → function
        self._wire_ids: set[str] = set()  # of calls that were sent with their id
        self._order: list[str] = []  # ids of the latest turn's calls
        self._open: list[str] = []
        self._answers: dict[str, Any] | None = None  # the turn that results are gathered in

    def add(self, message: Mapping[str, Any], where: str) -> None:
        """Translate the next message."""
        role = message["role"]
        if message.get("name") and role not in ("tool", "function"):
            raise InvalidRequestError(
                f"{where}.name: Gemini knows no names of speakers; write it into the content"
            )
        if role in ("tool", "function"):
            self._add_result(message, where)
            return
        self._answers = None
        if role in ("system", "developer"):
            self._add_system(message, where)
        elif role == "assistant":
            self._add_answer(message, where)
        else:
            parts = self._parts(message.get("content"), f"{where}.content")
            self.contents.append({"role": "user", "parts": parts})

    def finish(self) -> None:
        """Check the whole.

        Raises:
            InvalidRequestError: There is nothing to answer, or too much is attached.
        """
        if not self.contents:
            raise InvalidRequestError(
                "messages holds system prompts alone: add a message of the user"
            )
        if len(self._details) > 1:
            raise InvalidRequestError(
                "messages: image_url.detail differs from image to image; this model knows one "
                "resolution for all: use the same, or a Gemini 3 model"
            )
        self.resolution = next((_RESOLUTIONS[d] for d in self._details), None)
        check_size(self.contents)

    # -- parts ----------------------------------------------------------------------------------

    def _add_system(self, message: Mapping[str, Any], where: str) -> None:
        for part in self._parts(message.get("content"), f"{where}.content"):
            if "text" not in part:
                raise InvalidRequestError(
                    f"{where}.content: a system prompt is text; put attachments into a message of "
                    "the user"
                )
            self.system.append(part["text"])

    def _parts(self, content: Any, where: str) -> list[dict[str, Any]]:
        if isinstance(content, str):
            return [{"text": content}]
        return [self._part(part, f"{where}[{place}]") for place, part in enumerate(content or ())]

    def _part(self, part: Mapping[str, Any], where: str) -> dict[str, Any]:
        kind = part["type"]
        if kind in ("text", "refusal"):
            return {"text": part.get(kind, "")}
        if kind in ("image_url", "input_audio", "video_url", "file"):
            made = attachment(part, where)
            if kind == "image_url":
                self._note_detail(part["image_url"], made, f"{where}.image_url.detail")
            return made
        if any(name in part for name in _NATIVE):
            return {key: value for key, value in part.items() if key != "type"}
        raise InvalidRequestError(
            f"{where}.type: Gemini has nothing for {kind!r}; it takes text, image_url, "
            "input_audio, video_url, file, and parts of its own (inlineData, fileData, …)"
        )

    def _note_detail(self, image: Any, made: dict[str, Any], where: str) -> None:
        detail = image.get("detail") if isinstance(image, dict) else None
        if detail in (None, "auto"):
            return
        if detail not in _RESOLUTIONS:
            raise InvalidRequestError(f"{where} is {detail!r}: use low, high or auto")
        if self._each_resolution:
            made["mediaResolution"] = {"level": _RESOLUTIONS[detail]}
        else:
            self._details.add(detail)

    # -- calls and results ----------------------------------------------------------------------

    def _add_answer(self, message: Mapping[str, Any], where: str) -> None:
        calls = list(message.get("tool_calls") or ())
        if message.get("function_call") and not calls:
            calls = [{"id": "", "function": message["function_call"]}]
        self._order = []
        for place, call in enumerate(calls):
            function = call.get("function")
            if not isinstance(function, dict):
                raise InvalidRequestError(
                    f"{where}.tool_calls[{place}]: Gemini knows calls of functions alone"
                )
            identity = call.get("id") or f"{CALL_PREFIX}{len(self._names)}"
            self._names[identity] = function["name"]
            self._order.append(identity)
        self._open = list(self._order)
        said = _own_parts(message)
        if said is not None:
            sent = [p["functionCall"].get("id") for p in said if _is_call(p)]
            self._wire_ids.update(identity for identity in sent if isinstance(identity, str))
            self.contents.append({"role": "model", "parts": said})
            return
        parts = []
        text = message.get("content")
        if text or not calls:
            refusal = message.get("refusal")
            if not text and refusal:
                text = refusal
            parts = self._parts("" if text is None else text, f"{where}.content")
        for place, call in enumerate(calls):
            parts.append(
                self._call(call, self._order[place], place, f"{where}.tool_calls[{place}]")
            )
        self.contents.append({"role": "model", "parts": parts})

    def _call(self, call: Any, identity: str, place: int, where: str) -> dict[str, Any]:
        function = call["function"]
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            arguments = _object(arguments, f"{where}.function.arguments")
        made: dict[str, Any] = {"name": function["name"], "args": arguments or {}}
        if not identity.startswith(CALL_PREFIX):
            made["id"] = identity
            self._wire_ids.add(identity)
        part: dict[str, Any] = {"functionCall": made}
        signature = _given_signature(call) or self._signatures.get(identity)
        if signature is None and self._needs_signatures and place == 0:
            signature = NO_SIGNATURE
        if signature is not None:
            part["thoughtSignature"] = signature
        return part

    def _add_result(self, message: Mapping[str, Any], where: str) -> None:
        identity = message.get("tool_call_id")
        if identity is None:
            identity = self._only_open(message, where)
        if identity in self._open:
            self._open.remove(identity)
        name = self._names.get(identity) or message.get("name")
        made: dict[str, Any] = {"name": name}
        if identity in self._wire_ids:
            made["id"] = identity
        made["response"], media = self._result(message.get("content"), f"{where}.content")
        if media:
            made["parts"] = media
        part = {"functionResponse": made}
        if self._answers is None:
            self._answers = {"role": "user", "parts": []}
            self._answered: list[tuple[int, dict[str, Any]]] = []
            self.contents.append(self._answers)
        # Where calls have no ids, a result is told by its place: that of its call.
        place = self._order.index(identity) if identity in self._order else len(self._order)
        self._answered.append((place, part))
        self._answered.sort(key=lambda answered: answered[0])
        self._answers["parts"] = [answered for _, answered in self._answered]

    def _only_open(self, message: Mapping[str, Any], where: str) -> str:
        """Return the call that a result without an id answers."""
        name = message.get("name")
        fitting = [i for i in self._open if name is None or self._names[i] == name]
        if fitting:
            return fitting[0]
        raise InvalidRequestError(
            f"{where} is the result of {name or 'a function'!r}, which no message before it calls: "
            "keep the assistant's message with its calls in front of the results"
        )

    def _result(self, content: Any, where: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return a result as the object that it must be, and what is attached to it."""
        if isinstance(content, str):
            return _as_response(content), []
        parts = self._parts(content, where)
        text = "".join(part["text"] for part in parts if "text" in part)
        media = [part for part in parts if "text" not in part]
        if any("inlineData" not in part for part in media):
            raise InvalidRequestError(
                f"{where}: a function's result holds attachments as data URLs alone; put an "
                "address into a message of the user"
            )
        return _as_response(text), media


def read_messages(
    messages: Sequence[Mapping[str, Any]],
    model: str | None,
    signatures: Mapping[str, str] | None = None,
) -> Conversation:
    """Return messages, as `normalize_messages` returns them, in Gemini's shape.

    Args:
        messages: The conversation; not changed.
        model: The model that is asked: generations differ in what they must be sent.
        signatures: Thought signatures of earlier calls, by the id of the call.

    Raises:
        InvalidRequestError: A message holds what Gemini has no word for; the error has its place.
    """
    conversation = Conversation(model, signatures or {})
    for place, message in enumerate(messages):
        conversation.add(message, f"messages[{place}]")
    conversation.finish()
    return conversation


def is_third_generation(model: str | None) -> bool:
    """Say whether a model is a Gemini 3 or later (aliases such as gemini-flash-latest are)."""
    name = (model or "").lower()
    found = re.search(r"gemini-(\d+)", name)
    return int(found[1]) >= 3 if found else "gemini" in name and "latest" in name


def _own_parts(message: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the parts of an answer that came from Gemini itself, exactly as they came."""
    raw = message.raw if isinstance(message, AssistantMessage) else None
    candidates = raw.get("candidates") if isinstance(raw, dict) else None
    for candidate in candidates if isinstance(candidates, list) else ():
        content = candidate.get("content") if isinstance(candidate, dict) else None
        parts = content.get("parts") if isinstance(content, dict) else None
        if isinstance(parts, list) and parts and all(isinstance(part, dict) for part in parts):
            return parts
        break
    return None


def _is_call(part: Mapping[str, Any]) -> bool:
    return isinstance(part.get("functionCall"), dict)


def _given_signature(call: Mapping[str, Any]) -> str | None:
    """Return the signature where Google's OpenAI-compatible API has it."""
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else None


def _object(text: str, where: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidRequestError(
            f"{where} is not JSON ({error}); Gemini takes an object: repair it, or leave the call "
            "and its result out"
        ) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{where} is JSON, but no object; Gemini takes an object")
    return value


def _as_response(text: str) -> dict[str, Any]:
    """Return a function's result as an object: its own, or one around it."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return {"result": text}
        return value if isinstance(value, dict) else {"result": value}
    return {"result": text}
