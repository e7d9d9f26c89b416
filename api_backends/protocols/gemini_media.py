"""What is attached to a message, as a part of Gemini's: bytes inline, everything else by address.

https://ai.google.dev/gemini-api/docs/file-input-methods (what may be sent, and how large),
https://ai.google.dev/gemini-api/docs/image-understanding, …/audio, …/document-processing.
"""

from __future__ import annotations

import mimetypes
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from api_backends.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FILES_URL", "attachment", "check_size", "media_type"]

FILES_URL = "https://generativelanguage.googleapis.com/v1beta/"
"""What the name of an uploaded file ("files/abc") is a path under, also behind a proxy."""

INLINE_LIMIT = 100 * 1024 * 1024
PDF_LIMIT = 50 * 1024 * 1024

_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^,]*)?,", re.IGNORECASE)
_IMAGES = frozenset(("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"))
_IMAGE_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
}
_AUDIO = {
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "mpeg": "audio/mpeg",
    "aiff": "audio/aiff",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "opus": "audio/opus",
    "flac": "audio/flac",
    "m4a": "audio/m4a",
    "mp4": "audio/mp4",
    "webm": "audio/webm",
    "pcm16": "audio/l16;rate=24000",
}
_FILES = ("application/", "text/", "image/", "audio/", "video/")
# Those that are no text and that Gemini takes no bytes of.
_NO_FILES = re.compile(
    r"application/(zip|gzip|x-(tar|7z|gzip|bzip2)|octet-stream|msword|vnd\.(ms-|openxml).*)"
)


def attachment(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the part for an image, a sound, a video or a file, without its `detail`.

    Args:
        part: An OpenAI-shaped part of type image_url, input_audio, video_url or file.
        where: Its place in the request, for errors.

    Raises:
        InvalidRequestError: Gemini takes no such media, or not that much of it.
    """
    kind = part["type"]
    value = part.get(kind)
    if kind == "input_audio":
        return _audio(value, f"{where}.input_audio")
    if kind == "file":
        return _file(value, f"{where}.file")
    url = value.get("url") if isinstance(value, dict) else value
    spot = f"{where}.{kind}"
    if not isinstance(url, str) or not url:
        raise InvalidRequestError(f"{spot}.url is missing: give an address or a data URL")
    named = media_type(url)
    if kind == "image_url" and named is not None:
        named = _image_type(named, spot)
    return _inline(url, named, spot) if url[:5].lower() == "data:" else _address(url, named)


def media_type(url: str) -> str | None:
    """Return the media type of a data URL, or what the name at the end of an address says."""
    found = _DATA_URL.match(url)
    if found is not None:
        return found[1].strip().lower() or None
    guess, encoding = mimetypes.guess_type(urlsplit(url).path)
    return guess if encoding is None else None


def check_size(contents: list[dict[str, Any]]) -> None:
    """Raise InvalidRequestError where more is attached than one request may carry."""
    total = 0
    for content in contents:
        for part in content["parts"]:
            blob = part.get("inlineData")
            data = blob.get("data") if isinstance(blob, dict) else None
            if isinstance(data, str):
                total += len(data)
                if len(data) * 3 // 4 > PDF_LIMIT and blob["mimeType"] == "application/pdf":
                    raise InvalidRequestError(
                        f"messages: a PDF of {_megabytes(len(data) * 3 // 4)}; Gemini takes "
                        f"{PDF_LIMIT >> 20} MB inline: upload_file() it, and give its id"
                    )
    if total > INLINE_LIMIT:
        raise InvalidRequestError(
            f"messages: {_megabytes(total)} attached; Gemini takes {INLINE_LIMIT >> 20} MB in one "
            "request: upload_file() the largest, and give their ids"
        )


def _megabytes(size: int) -> str:
    return f"{size / (1 << 20):.0f} MB"


def _image_type(named: str, where: str) -> str:
    named = _IMAGE_ALIASES.get(named, named)
    if named.startswith("image/") and named not in _IMAGES:
        raise InvalidRequestError(
            f"{where}: Gemini takes no {named}; convert it to PNG, JPEG, WebP, HEIC or HEIF"
        )
    return named


def _inline(url: str, named: str | None, where: str) -> dict[str, Any]:
    if named is None:
        raise InvalidRequestError(f"{where} has no media type: write data:TYPE;base64,…")
    return {"inlineData": {"mimeType": named, "data": url[url.index(",") + 1 :]}}


def _address(url: str, named: str | None) -> dict[str, Any]:
    if re.fullmatch(r"files/[a-z0-9-]+", url):
        url = FILES_URL + url
    data = {"fileUri": url}
    if named is not None:
        data["mimeType"] = named
    return {"fileData": data}


def _audio(value: Any, where: str) -> dict[str, Any]:
    data = value.get("data") if isinstance(value, dict) else value
    named = value.get("format") if isinstance(value, dict) else None
    if not isinstance(data, str) or not data:
        raise InvalidRequestError(f"{where}.data is missing: give the sound as base64")
    if data[:5].lower() == "data:":
        return _inline(data, media_type(data), where)
    if named not in _AUDIO:
        raise InvalidRequestError(
            f"{where}.format: Gemini takes no {named!r}; it takes {', '.join(sorted(_AUDIO))}"
        )
    return {"inlineData": {"mimeType": _AUDIO[named], "data": data}}


def _file(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, str):
        return _address(value, media_type(value))
    named = value.get("mime_type") or value.get("format")
    name = value.get("filename")
    if not isinstance(named, str) or "/" not in named:
        named = mimetypes.guess_type(name)[0] if isinstance(name, str) else None
    data = value.get("file_data")
    if isinstance(data, str):
        if data[:5].lower() == "data:":
            return _inline(data, _file_type(media_type(data) or named, where), where)
        if "://" in data[:20]:
            return _address(data, named or media_type(data))
        return {"inlineData": {"mimeType": _file_type(named, where), "data": data}}
    identity = value.get("file_id") or value.get("file_uri")
    if not isinstance(identity, str) or not identity:
        raise InvalidRequestError(
            f"{where}: give file_data, or the file_id that upload_file() returned as `uri`"
        )
    return _address(identity, named)


def _file_type(named: str | None, where: str) -> str:
    if named is None:
        raise InvalidRequestError(
            f"{where}.filename doesn't say what the file is: give a name with its ending, or a "
            "data URL"
        )
    if not named.startswith(_FILES) or _NO_FILES.fullmatch(named):
        raise InvalidRequestError(
            f"{where}: Gemini takes no {named}; it takes PDF, text, images, sound and video"
        )
    return named
