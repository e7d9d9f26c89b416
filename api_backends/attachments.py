"""Check what is attached to a message: a data URL must hold what it says it holds."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import InvalidRequestError

__all__ = ["check_base64", "check_image_load", "check_image_url", "image_type"]

_DATA_URL = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),", re.IGNORECASE)
_ALIASES = {
    "jpg": "jpeg",
    "pjpeg": "jpeg",
    "x-png": "png",
    "x-ms-bmp": "bmp",
    "x-bmp": "bmp",
    "vnd.microsoft.icon": "x-icon",
}
_FTYP = {
    b"avif": "avif",
    b"avis": "avif",
    b"heic": "heic",
    b"heix": "heic",
    b"hevc": "heic",
    b"mif1": "heif",
    b"msf1": "heif",
}
_SAME_FAMILY = frozenset(("heic", "heif", "avif"))


def image_type(data: bytes) -> str | None:
    """Return which image format the bytes begin with (png, jpeg, gif, …), None where none does."""
    kind = None
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        kind = "png"
    elif data.startswith(b"\xff\xd8\xff"):
        kind = "jpeg"
    elif data[:6] in (b"GIF87a", b"GIF89a"):
        kind = "gif"
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "webp"
    elif data[:2] == b"BM" and len(data) >= 26:
        kind = "bmp"
    elif data[:4] in (b"II*\x00", b"MM\x00*"):
        kind = "tiff"
    elif data[4:8] == b"ftyp":
        kind = _FTYP.get(data[8:12])
    elif data[:4] == b"\x00\x00\x01\x00":
        kind = "x-icon"
    elif b"<svg" in data[:1000].lower():
        kind = "svg+xml"
    return kind


def check_image_load(
    messages: Sequence[Mapping[str, Any]], most_bytes: int, most_images: int, provider: str
) -> None:
    """Raise InvalidRequestError where messages hold more images than a provider takes.

    Args:
        messages: Checked messages.
        most_bytes: Bytes of all attached images together, as sent (base64).
        most_images: Images, attached or by address.
        provider: Its name, for the error.
    """
    size = count = 0
    for message in messages:
        content = message.get("content")
        if content.__class__ is not list:
            continue
        for part in content:
            if part.get("type") != "image_url":
                continue
            image = part["image_url"]
            url = image if isinstance(image, str) else image["url"]
            count += 1
            size += len(url) if url[:5].lower() == "data:" else 0
    if count > most_images:
        raise InvalidRequestError(
            f"messages: {count} images; {provider} takes at most {most_images} in a request: send "
            "fewer at once"
        )
    if size > most_bytes:
        raise InvalidRequestError(
            f"messages: {size / 2**20:.1f} MiB of images; {provider} takes at most "
            f"{most_bytes / 2**20:g} MiB in a request: scale them down, or give their addresses"
        )


def check_image_url(url: str, where: str) -> None:
    """Raise InvalidRequestError unless `url` is a web address or a data URL of a real image.

    Args:
        url: The address as given.
        where: Its place in the request, for the error.
    """
    head = url[:8].lower()
    if head.startswith(("http://", "https://")):
        return
    if not head.startswith("data:"):
        raise InvalidRequestError(
            f"{where} is neither a web address nor a data URL ({url[:40]!r}): give https://…, or "
            "data:image/png;base64,… with the image itself"
        )
    declared, data = _decoded(url, where, "the image")
    if not declared.startswith("image/"):
        raise InvalidRequestError(
            f"{where} says that it holds {declared or 'nothing particular'}: give an image, "
            "data:image/png;base64,…"
        )
    found = image_type(data)
    if found is None:
        raise InvalidRequestError(
            f"{where} says {declared}, but its bytes are not an image: encode the file itself"
        )
    named = declared[6:]
    named = _ALIASES.get(named, named)
    same = named == found or (named in _SAME_FAMILY and found in _SAME_FAMILY)
    if not same:
        raise InvalidRequestError(
            f"{where} says {declared}, but its bytes are image/{found}: "
            f"write data:image/{found};base64,…"
        )


def check_base64(text: str, where: str, what: str) -> None:
    """Raise InvalidRequestError unless `text` is base64, a data URL of base64, or an address.

    Args:
        text: The attachment as given.
        where: Its place in the request, for the error.
        what: What it is, for the error.
    """
    if text[:5].lower() == "data:":
        _decoded(text, where, what)
    elif "://" not in text[:20]:
        _bytes(text, where, what)


def _decoded(url: str, where: str, what: str) -> tuple[str, bytes]:
    """Return the declared type and the bytes of a data URL."""
    found = _DATA_URL.match(url)
    if found is None or not found[2].lower().endswith(";base64"):
        raise InvalidRequestError(f"{where} is not a base64 data URL: write data:TYPE;base64,…")
    return found[1].strip().lower(), _bytes(url[found.end() :], where, what)


def _bytes(text: str, where: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError(
            f"{where} is not valid base64 ({error}): encode {what} with base64.b64encode"
        ) from error
    if not data:
        raise InvalidRequestError(f"{where} is empty: encode {what} with base64.b64encode")
    return data
