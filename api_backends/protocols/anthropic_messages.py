"""A conversation, from OpenAI's shape to the one of Anthropic's Messages API.

https://platform.claude.com/docs/en/api/messages. System and developer messages become `system`,
tool calls and their results content blocks, and neighbours of one role are joined, so that user and
assistant alternate. What Claude itself said goes back block by block as it came: its thinking is
signed and refused when it was changed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from api_backends.errors import InvalidRequestError
from api_backends.messages import AssistantMessage

from .anthropic_parts import blocks_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["conversation_of"]

Block = dict[str, Any]
_NOT_OF_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")


def conversation_of(
    messages: Sequence[Mapping[str, Any]],
) -> tuple[str | list[Block] | None, list[dict[str, Any]]]:
    """Return `system` (None where nobody said any) and `messages` of a request.

    Args:
        messages: Messages as `normalize_messages` returns them; they are not changed.

    Raises:
        InvalidRequestError: A message holds what Claude can't be told; the error names its place.
    """
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    calls = _Calls()
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        role = message["role"]
        if message.get("name") is not None and role not in ("tool", "function"):
            raise _bad(f"{where}.name", "names the speaker, which Claude has no field for",
                       "write the name into the content")  # fmt: skip
        if role in ("system", "developer"):
            blocks = _marked(blocks_of(message["content"], f"{where}.content"), message)
            if all(block.get("type") == "text" for block in blocks):
                system += [block for block in blocks if block.get("text")]
            else:  # a change of tools in mid-conversation: it has its place
                turns.append({"role": "system", "content": blocks})
            continue
        if role == "assistant":
            blocks, role = _said(message, where, calls), "assistant"
        elif role in ("tool", "function"):
            blocks, role = [_result(message, where, calls)], "user"
        else:
            blocks = blocks_of(message["content"], f"{where}.content")
        blocks = _marked(blocks, message)
        if not blocks:
            raise _bad(f"{where}.content", "is empty, which Claude refuses", "leave it out")
        _append(turns, role, blocks)
    if not turns:
        raise InvalidRequestError(
            "messages: nobody but the system speaks; add a message of the user"
        )
    return _plain(system) or None, [{**turn, "content": _plain(turn["content"])} for turn in turns]


class _Calls:
    """The tool calls so far, by the ids that they were given; each has one that the API takes."""

    __slots__ = ("_by_name", "_count", "_open")

    def __init__(self) -> None:
        self._count = 0
        self._by_name: dict[str, str] = {}
        self._open = ""

    def called(self, identity: Any, name: str) -> str:
        """Return the id of a call, a new one where its maker gave none."""
        self._count += 1
        known = wire_id(identity) or f"call_{self._count}"
        self._by_name[name] = self._open = known
        return known

    def answered(self, identity: Any, name: Any) -> str:
        """Return the id of the call that a result answers."""
        if identity:
            return wire_id(identity)
        return self._by_name.get(name, self._open)


def wire_id(identity: Any) -> str:
    """Return a call's id with nothing in it that the API refuses: other providers use more."""
    return _NOT_OF_AN_ID.sub("_", identity) if isinstance(identity, str) else ""


def _said(message: Mapping[str, Any], where: str, calls: _Calls) -> list[Block]:
    """Return the blocks of an assistant's turn."""
    own = message.raw if isinstance(message, AssistantMessage) else None
    if isinstance(own, dict) and own.get("type") == "message" and _is_list(own.get("content")):
        blocks = [block for block in own["content"] if not _is_empty_text(block)]
        for block in blocks:
            if block.get("type") == "tool_use":
                calls.called(block.get("id"), str(block.get("name")))
        return blocks
    if message.get("audio"):
        raise _bad(f"{where}.audio", "is sound, which Claude doesn't take", "send its transcript")
    blocks = [
        block
        for block in blocks_of(message.get("content"), f"{where}.content")
        if not _is_empty_text(block)
    ]
    if not blocks and isinstance(message.get("refusal"), str):
        blocks.append({"type": "text", "text": message["refusal"]})
    for block in blocks:
        if block.get("type") == "tool_use":
            calls.called(block.get("id"), str(block.get("name")))
    known = {block.get("id") for block in blocks}
    for place, call in enumerate(message.get("tool_calls") or ()):
        if call.get("id") is None or call["id"] not in known:
            blocks.append(_tool_use(call, f"{where}.tool_calls[{place}]", calls))
    legacy = message.get("function_call")
    if legacy:
        blocks.append(_tool_use({"function": legacy}, f"{where}.function_call", calls))
    return blocks


def _tool_use(call: Mapping[str, Any], where: str, calls: _Calls) -> Block:
    function = call.get("function")
    if not isinstance(function, dict):
        raise _bad(where, f"is a call of type {call.get('type')!r}", "give a call of a function")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except ValueError as error:
            raise _bad(
                f"{where}.function.arguments", f"is not JSON ({error})", "give a JSON object"
            ) from error
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise _bad(
            f"{where}.function.arguments",
            f"is {type(arguments).__name__} in JSON, and Claude takes an object alone",
            "give a JSON object",
        )
    identity = calls.called(call.get("id"), function["name"])
    block = {"type": "tool_use", "id": identity, "name": function["name"], "input": arguments}
    if call.get("cache_control") is not None:
        block["cache_control"] = call["cache_control"]
    return block


def _result(message: Mapping[str, Any], where: str, calls: _Calls) -> Block:
    identity = calls.answered(message.get("tool_call_id"), message.get("name"))
    if not identity:
        raise _bad(where, "answers no call", "put the assistant's call in front of its result")
    content = message.get("content")
    block: Block = {"type": "tool_result", "tool_use_id": identity}
    if isinstance(content, str):
        if content:
            block["content"] = content
    else:
        block["content"] = blocks_of(content, f"{where}.content")
    failed = message.get("is_error")
    if failed is not None:
        if not isinstance(failed, bool):
            raise _bad(f"{where}.is_error", f"is {failed!r}", "say True or False")
        block["is_error"] = failed
    return block


def _append(turns: list[dict[str, Any]], role: str, blocks: list[Block]) -> None:
    """Add blocks as a turn, or to the turn before where that is of the same role."""
    last = turns[-1] if turns else None
    if last is None or last["role"] != role:
        turns.append({"role": role, "content": list(blocks)})
        return
    if role == "user":
        # Results of tools must come before anything else that the user says.
        place = 0
        for block in last["content"]:
            place += block.get("type") == "tool_result"
        results = [block for block in blocks if block.get("type") == "tool_result"]
        blocks = [block for block in blocks if block.get("type") != "tool_result"]
        last["content"][place:place] = results
    last["content"] += blocks


def _marked(blocks: list[Block], message: Mapping[str, Any]) -> list[Block]:
    """Put the `cache_control` of a message on its last block, where the API reads it."""
    mark = message.get("cache_control")
    if mark is None or not blocks:
        return blocks
    return [*blocks[:-1], {**blocks[-1], "cache_control": mark}]


def _plain(blocks: list[Block]) -> str | list[Block]:
    """Return a single block of text as the text itself."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} and blocks[0]["type"] == "text":
        text: str = blocks[0]["text"]
        return text
    return blocks


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(block, dict) for block in value)


def _is_empty_text(block: Mapping[str, Any]) -> bool:
    # Answers hold them; requests must not.
    return block.get("type") == "text" and not block.get("text")


def _bad(where: str, what: str, remedy: str) -> InvalidRequestError:
    return InvalidRequestError(f"{where} {what}: {remedy}")
