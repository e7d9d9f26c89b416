"""What is uploaded: a path, bytes or a file object, read once and checked before it is sent."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InvalidRequestError

__all__ = ["Upload", "audio_type", "read_upload"]


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it is sent: its name, its bytes and its media type."""

    name: str
    data: bytes
    content_type: str = "application/octet-stream"

    def __repr__(self) -> str:
        return f"<Upload {self.name!r}, {len(self.data)} bytes, {self.content_type}>"


def audio_type(data: bytes) -> str | None:
    """Return the file suffix of the sound that the bytes begin with, None where none does."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data[:3] == b"ID3" or (data[:1] == b"\xff" and data[1:2] > b"\xe0"):
        return "mp3"
    if data[4:8] == b"ftyp":
        return "m4a" if data[8:11] == b"M4A" else "mp4"
    starts = ((b"OggS", "ogg"), (b"fLaC", "flac"), (b"\x1a\x45\xdf\xa3", "webm"))
    return next((kind for start, kind in starts if data.startswith(start)), None)


def read_upload(
    file: Any,
    argument: str,
    *,
    suffixes: Collection[str] = (),
    limit: int | None = None,
    kind: str = "file",
    default_name: str = "file",
) -> Upload:
    """Read what a caller gave to be uploaded.

    Args:
        file: A path, bytes, a binary file object (read from where it stands), an `Upload`, or
            a tuple (name, any of these).
        argument: The argument's name, for errors.
        suffixes: File types that the provider takes ("mp3", …); any if empty.
        limit: The most bytes that it takes.
        kind: What it is, for errors: "audio file", "image".
        default_name: Name of bytes that have none; the suffix of a known sound or image is added.

    Raises:
        InvalidRequestError: It is missing, empty, too big, or of a type that is not taken.
    """
    name = None
    if isinstance(file, tuple) and len(file) >= 2 and isinstance(file[0], str):
        name, file = file[0], file[1]
    upload = file if isinstance(file, Upload) else _read(file, argument, kind)
    name = name or upload.name or default_name
    if not upload.data:
        raise InvalidRequestError(f"{argument}: {name!r} is empty; give a {kind} with content")
    if limit is not None and len(upload.data) > limit:
        raise InvalidRequestError(
            f"{argument}: {name!r} has {len(upload.data) / 2**20:.1f} MiB, more than the "
            f"{limit / 2**20:g} MiB that are taken; split or compress it"
        )
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    if not suffix:
        suffix = _sniffed(upload.data) or ""
        name = f"{name}.{suffix}" if suffix else name
    if suffixes and suffix not in suffixes:
        raise InvalidRequestError(
            f"{argument}: {name!r} is no {kind} of a type that is taken ({', '.join(suffixes)}); "
            "convert it, or give bytes as a tuple (name, bytes)"
        )
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Upload(name, upload.data, guessed)


def _sniffed(data: bytes) -> str | None:
    from .attachments import image_type

    image = image_type(data)
    return audio_type(data) or ({"jpeg": "jpg"}.get(image, image) if image else None)


def _read(file: Any, argument: str, kind: str) -> Upload:
    if isinstance(file, (bytes, bytearray, memoryview)):
        return Upload("", bytes(file))
    if isinstance(file, (str, os.PathLike)):
        path = Path(file)
        try:
            return Upload(path.name, path.read_bytes())
        except (OSError, ValueError) as error:
            raise InvalidRequestError(
                f"{argument}: {str(file)[:200]!r} can't be read "
                f"({getattr(error, 'strerror', None) or error}); give the path of a {kind}"
            ) from error
    reader = getattr(file, "read", None)
    if reader is None:
        raise InvalidRequestError(
            f"{argument}: {type(file).__name__} given; it takes a path, bytes, or a file opened "
            'in binary mode ("rb")'
        )
    data = reader()
    if not isinstance(data, (bytes, bytearray)):
        raise InvalidRequestError(f'{argument}: a file opened as text; open it in mode "rb"')
    name = getattr(file, "name", "")
    return Upload(Path(name).name if isinstance(name, str) else "", bytes(data))
