"""Parts of a message, from OpenAI's shape to the content blocks of Anthropic's Messages API.

https://platform.claude.com/docs/en/api/messages and …/build-with-claude/vision, …/pdf-support. A
part that is a content block of Anthropic's already (`image` with a `source`, `document`,
`search_result`, `tool_result`, `thinking`, …) is passed on as it is.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from api_backends.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["FILES_BETA", "block_of", "blocks_of", "refers_to_files"]

FILES_BETA = "files-api-2025-04-14"
"""What the `anthropic-beta` header says where a request refers to an uploaded file."""

IMAGE_LIMIT = 5 * 1024 * 1024
"""Most bytes of base64 that one image may have."""
FILE_LIMIT = 32 * 1024 * 1024
"""Most bytes of base64 that a document may have: the limit of a whole request."""

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_IMAGE_NAMES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_TEXT_ENDINGS = (".txt", ".md", ".csv", ".json", ".xml", ".html", ".log", ".rst", ".yaml", ".yml")
# What a block takes beside its content, passed on where a part has it.
_BESIDE = ("cache_control", "citations", "title", "context")


def blocks_of(content: Any, where: str) -> list[dict[str, Any]]:
    """Return the content blocks of a message's content.

    Args:
        content: A text or a list of parts, as `normalize_messages` lets them pass.
        where: Its place in the request, for errors.

    Raises:
        InvalidRequestError: A part is of a kind, a media type or a size that Claude doesn't take.
    """
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [block_of(part, f"{where}[{place}]") for place, part in enumerate(content or ())]


def block_of(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the content block that a part stands for; see `blocks_of`."""
    kind = part.get("type")
    if kind == "image_url":
        return _image(part, where)
    if kind == "file":
        return _file(part, where)
    if kind == "input_audio":
        raise _bad(where, "is sound, which Claude doesn't take", "transcribe it first")
    if kind == "refusal":  # what a model of OpenAI's said instead of an answer
        return {"type": "text", "text": str(part.get("refusal") or "")}
    source = part.get("source")
    if kind == "image" and isinstance(source, dict) and source.get("type") == "base64":
        _check_size(source.get("data"), IMAGE_LIMIT, f"{where}.source.data", "an image")
    return dict(part)


def refers_to_files(messages: Sequence[Any]) -> bool:
    """Say whether a part of any message names an uploaded file by its id."""
    return any(_names_file(part) for message in messages for part in _parts_of(message))


def _parts_of(message: Any) -> Iterator[Any]:
    content = message.get("content") if hasattr(message, "get") else None
    for part in content if isinstance(content, (list, tuple)) else ():
        yield part
        inner = part.get("content") if isinstance(part, dict) else None
        yield from inner if isinstance(inner, (list, tuple)) else ()


def _names_file(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    if part.get("type") == "container_upload":
        return True
    held = part.get("file") if part.get("type") == "file" else part.get("source")
    return isinstance(held, dict) and isinstance(held.get("file_id"), str)


def _image(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    given = part["image_url"]
    spot = f"{where}.image_url"
    if isinstance(given, dict):
        if given.get("detail") == "low":
            raise _bad(
                f"{spot}.detail",
                "is 'low', which Claude has no equivalent of",
                "leave it out, and scale the image down instead",
            )
        given, spot = given["url"], f"{spot}.url"
    if given[:5].lower() != "data:":
        source = {"type": "url", "url": _https(given, spot)}
    else:
        head, _, data = given.partition(",")
        source = _image_source(head[5:].partition(";")[0].strip().lower(), data, spot)
    return {"type": "image", "source": source, **_beside(part)}


def _image_source(media_type: str, data: str, where: str) -> dict[str, Any]:
    media_type = _IMAGE_NAMES.get(media_type, media_type)
    if media_type not in _IMAGES:
        raise _bad(
            where,
            f"is {media_type or 'of no type'}, which Claude doesn't take",
            f"convert it to one of {', '.join(_IMAGES)}",
        )
    _check_size(data, IMAGE_LIMIT, where, "an image")
    return {"type": "base64", "media_type": media_type, "data": data}


def _file(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    held = part.get("file")
    spot = f"{where}.file"
    if isinstance(held, str):
        held = {"file_data": held}
    assert isinstance(held, dict)  # normalize_messages let it pass
    identity, data, name = held.get("file_id"), held.get("file_data"), held.get("filename")
    beside = _beside(part)
    if isinstance(name, str) and name:
        beside.setdefault("title", name)
    if isinstance(identity, str) and identity:
        source = {"type": "file", "file_id": identity}
        return {"type": "document", "source": source, **beside}
    if not isinstance(data, str) or not data:
        raise _bad(spot, "has neither file_id nor file_data", "give one of the two")
    if data[:5].lower() != "data:" and "://" in data[:20]:
        source = {"type": "url", "url": _https(data, f"{spot}.file_data")}
        return {"type": "document", "source": source, **beside}
    return _document(data, str(name or ""), beside, f"{spot}.file_data")


def _document(data: str, name: str, beside: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the block of a file whose bytes are given, by its stated type or by what it is."""
    media_type = ""
    if data[:5].lower() == "data:":
        head, _, data = data.partition(",")
        media_type = head[5:].partition(";")[0].strip().lower()
    _check_size(data, FILE_LIMIT, where, "a document")
    begins = _begins(data)
    if media_type in ("", "application/octet-stream"):
        is_text = name.lower().endswith(_TEXT_ENDINGS)
        media_type = "text/plain" if is_text else "application/pdf"
    if media_type == "application/pdf":
        # The header may stand behind some bytes of junk, within the first 1024.
        if b"%PDF-" not in begins:
            raise _bad(
                where,
                "is not a PDF: its bytes don't begin like one",
                "give the file itself, or its type as data:TYPE;base64,…",
            )
        source = {"type": "base64", "media_type": media_type, "data": data}
        return {"type": "document", "source": source, **beside}
    if media_type.startswith("text/") or media_type in ("application/json", "application/xml"):
        source = {"type": "text", "media_type": "text/plain", "data": _text(data, where)}
        return {"type": "document", "source": source, **beside}
    if media_type.startswith("image/"):
        beside.pop("title", None)
        return {"type": "image", "source": _image_source(media_type, data, where), **beside}
    raise _bad(
        where,
        f"is {media_type}, which Claude doesn't take",
        "give a PDF, plain text or an image, or the text of the file",
    )


def _beside(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part[name] for name in _BESIDE if part.get(name) is not None}


def _https(url: str, where: str) -> str:
    if urlsplit(url).scheme.lower() != "https":
        raise _bad(
            where, "is not an https address, and Claude fetches no other", "send the file itself"
        )
    return url


def _check_size(data: Any, limit: int, where: str, what: str) -> None:
    if isinstance(data, str) and len(data) > limit:
        raise _bad(
            where,
            f"has {len(data) / 1048576:.1f} MiB of base64, and {what} may have {limit >> 20}",
            "make it smaller",
        )


def _begins(data: str) -> bytes:
    try:
        return base64.b64decode(data[:1368])
    except (binascii.Error, ValueError):
        return b""


def _text(data: str, where: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode("utf-8-sig")
    except (binascii.Error, ValueError) as error:
        raise _bad(where, f"is not text in UTF-8 ({error})", "encode the text as UTF-8") from error


def _bad(where: str, what: str, remedy: str) -> InvalidRequestError:
    return InvalidRequestError(f"{where} {what}: {remedy}")
