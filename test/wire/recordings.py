"""Read recorded exchanges, as plainly as can be."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ELIDED = re.compile(r"ELIDED_BASE64_len=\d+_sha256=[0-9a-f]+")
# What stands in for attachments whose bytes were left out of the recording.
_STAND_INS = {
    "data:image/png": b"\x89PNG\r\n\x1a\n" + bytes(32),
    "data:image/jpeg": b"\xff\xd8\xff\xe0" + bytes(32),
    "data:image/gif": b"GIF89a" + bytes(32),
    "data:image/webp": b"RIFF\x00\x00\x00\x00WEBP" + bytes(32),
}


def exchanges(folder: Path, provider: str, api: str) -> Iterator[dict[str, Any]]:
    with gzip.open(folder / f"{provider}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            exchange = json.loads(line)
            if exchange["api"] == api:
                yield exchange


def stream_events(text: str) -> tuple[list[Any], bool]:
    """The JSON of each `data:` line and whether `[DONE]` came; a broken line ends the stream."""
    found = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            return found, True
        try:
            found.append(json.loads(data))
        except ValueError:
            return found, False
    return found, False


def restored(value: Any) -> Any:
    """The same data with attachments in the place of those left out."""
    if isinstance(value, str) and "ELIDED_BASE64" in value:
        head = value.split(";", 1)[0]
        data = _STAND_INS.get(head, b"an attachment that was left out")
        return _ELIDED.sub(base64.b64encode(data).decode(), value)
    if isinstance(value, list):
        return [restored(item) for item in value]
    if isinstance(value, dict):
        return {key: restored(item) for key, item in value.items()}
    return value
