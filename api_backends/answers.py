"""What calls beside chat and embeddings return; each also reads like a mapping."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InvalidResponseError
from .types import REAL, ChatCompletionResponse, Usage, _MappingView

if TYPE_CHECKING:
    import os

    from .errors import ApiError

__all__ = [
    "BatchResult",
    "GeneratedImage",
    "ImageResponse",
    "Moderation",
    "ModerationResponse",
    "TokenCount",
    "Transcription",
]


@dataclass(slots=True, kw_only=True)
class _Answer(_MappingView):
    """What every answer of an endpoint says of itself; `latency` in seconds."""

    model: str = ""
    usage: Usage = field(default_factory=Usage)
    raw: Any = None
    backend: str = ""
    endpoint_id: str = ""
    request_id: str = ""
    attempts: int = 1
    latency: float = 0.0
    implementation_type: str = REAL


@dataclass(slots=True)
class Transcription(_Answer):
    """What was said in a recording.

    `text` is the text (the subtitles themselves where srt or vtt was asked for); `duration` in
    seconds; `segments` and `words` as the provider sends them, with times in seconds.
    """

    text: str = ""
    language: str | None = None
    duration: float | None = None
    segments: list[dict[str, Any]] = field(default_factory=list)
    words: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        return self.text


@dataclass(slots=True)
class GeneratedImage(_MappingView):
    """One image: its base64 (`b64_json`) or its `url`, and the prompt that was really used."""

    b64_json: str | None = field(default=None, repr=False)
    url: str | None = None
    revised_prompt: str | None = None

    @property
    def data(self) -> bytes:
        """The bytes of the image.

        Raises:
            InvalidResponseError: There is only a `url`, or the base64 is none.
        """
        if self.b64_json is None:
            raise InvalidResponseError(
                f"the image came as an address: fetch {self.url}, or ask for it with "
                'response_format="b64_json"'
            )
        try:
            return base64.b64decode(self.b64_json, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidResponseError(f"the image is not base64 ({error}); ask again") from error

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the image to a file; return its path."""
        target = Path(path)
        target.write_bytes(self.data)
        return target


@dataclass(slots=True)
class ImageResponse(_Answer):
    """Generated images, in the provider's order."""

    images: list[GeneratedImage] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def __bool__(self) -> bool:
        return True


@dataclass(slots=True)
class Moderation(_MappingView):
    """What a moderation model thinks of one input: `scores` between 0 and 1 a category."""

    flagged: bool
    categories: dict[str, bool] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def reasons(self) -> list[str]:
        """The categories that apply."""
        return [name for name, applies in self.categories.items() if applies]


@dataclass(slots=True)
class ModerationResponse(_Answer):
    """The verdicts on the inputs, in order; `flagged` if any of them is."""

    results: list[Moderation] = field(default_factory=list)

    _computed = ("flagged",)

    @property
    def flagged(self) -> bool:
        """Whether any of the inputs is flagged."""
        return any(result.flagged for result in self.results)


@dataclass(slots=True)
class BatchResult(_MappingView):
    """The outcome of one request of a batch: a `response`, or the `error` it ended in."""

    custom_id: str
    response: ChatCompletionResponse | Any = None
    error: ApiError | None = None
    raw: Any = field(default=None, repr=False)


class TokenCount(int):
    """A number of tokens; `is_estimate` says whether it was counted or reckoned, `method` how."""

    is_estimate: bool
    method: str

    def __new__(cls, value: int, *, is_estimate: bool, method: str) -> TokenCount:
        """Make one out of a number and how it was found."""
        count = super().__new__(cls, value)
        count.is_estimate = is_estimate
        count.method = method
        return count

    def __repr__(self) -> str:
        return f"{'about ' if self.is_estimate else ''}{int(self)} tokens ({self.method})"
