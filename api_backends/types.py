"""What calls return: one shape per kind of answer, whoever gave it.

Every type also reads like a mapping (`r["content"]`, `r.get("usage")`, `r.to_dict()`), for code
that grew up on dictionaries.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import InvalidResponseError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "ChatCompletionResponse",
    "EmbeddingResponse",
    "StreamChunk",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
]

REAL = "(REAL)"
MOCK = "(MOCK)"


def _plain(value: Any) -> Any:
    """Return `value` as JSON-ready data."""
    if isinstance(value, _MappingView):
        return value.to_dict()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    return value


class _MappingView:
    """Reading access by key to the public fields of a slotted dataclass."""

    __slots__ = ()
    _computed: tuple[str, ...] = ()

    def keys(self) -> list[str]:
        """Return the names that can be read by key."""
        names = [name for name in self.__dataclass_fields__ if name[0] != "_"]  # type: ignore[attr-defined]
        return [*names, *self._computed]

    def __getitem__(self, key: str) -> Any:
        if isinstance(key, str) and key in self.keys():
            return getattr(self, key)
        raise KeyError(f"{key!r}: {type(self).__name__} has {', '.join(self.keys())}")

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of `key`, or `default` where there is no such field."""
        return getattr(self, key) if key in self.keys() else default

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain dictionaries, lists, numbers and strings."""
        return {key: _plain(getattr(self, key)) for key in self.keys()}


@dataclass(slots=True)
class Usage(_MappingView):
    """Tokens of one call. False in a condition when the provider reported none.

    `prompt_tokens` counts everything that was read, cached or not; `cached_tokens` is the part of
    it that came from a cache; `reasoning_tokens` the part of `completion_tokens` spent thinking.
    `cost` is in USD, None where no price is known.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float | None = None

    def __bool__(self) -> bool:
        return bool(self.total_tokens or self.prompt_tokens or self.completion_tokens)


@dataclass(slots=True)
class ToolCall(_MappingView):
    """A call of one of the caller's tools; `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str

    def parsed_arguments(self) -> Any:
        """Return the arguments as data; `{}` where the model wrote none.

        Raises:
            InvalidResponseError: The model wrote something that is not JSON.
        """
        if not self.arguments.strip():
            return {}
        try:
            return json.loads(self.arguments)
        except ValueError as error:
            raise InvalidResponseError(
                f"the model called tool {self.name!r} with arguments that are not JSON ({error}): "
                f"{self.arguments[:200]!r}; ask it again, or use a strict tool schema"
            ) from error


@dataclass(slots=True)
class ToolCallDelta(_MappingView):
    """A piece of a tool call in a stream: which call it belongs to, and what it adds."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class ChatCompletionResponse(_MappingView):
    """An answer of a model in a conversation.

    `content` is the text ("" where there is none); `finish_reason` is `stop`, `length`,
    `tool_calls`, `content_filter` or the provider's own word; `raw` the provider's JSON,
    untouched; `latency` the seconds from the call to the whole answer; `attempts` the requests
    sent; `implementation_type` "(REAL)" where a real endpoint answered.
    """

    id: str = ""
    model: str = ""
    content: str = ""
    role: str = "assistant"
    tool_calls: list[ToolCall] = field(default_factory=list)
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    reasoning: str | None = None
    refusal: str | None = None
    raw: Any = None
    backend: str = ""
    endpoint_id: str = ""
    request_id: str = ""
    attempts: int = 1
    latency: float = 0.0
    implementation_type: str = REAL

    _computed = ("text",)

    @property
    def text(self) -> str:
        """The same as `content`."""
        return self.content

    def __str__(self) -> str:
        return self.content


@dataclass(slots=True)
class StreamChunk(_MappingView):
    """What one event of a stream adds.

    `delta` is the new text ("" where the event adds none); `text` everything so far;
    `tool_calls` the pieces of tool calls; `usage` comes with the last chunk, `done` is true for
    that one alone.
    """

    id: str = ""
    model: str = ""
    delta: str = ""
    role: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    reasoning: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    done: bool = False
    raw: Any = None
    _parts: list[str] | None = field(default=None, repr=False, compare=False)
    _end: int = field(default=0, repr=False, compare=False)

    _computed = ("content", "text")

    @property
    def content(self) -> str:
        """The same as `delta`."""
        return self.delta

    @property
    def text(self) -> str:
        """The whole text up to and including this chunk."""
        # Joined only when asked for: a stream of n chunks stays O(n).
        return self.delta if self._parts is None else "".join(self._parts[: self._end])


@dataclass(slots=True)
class EmbeddingResponse(_MappingView):
    """Embeddings of texts, in the order in which they were given.

    `embeddings` is a float32 array of shape (number of texts, dimensions). `device` and
    `precision` are set where a device of this machine computed them.
    """

    embeddings: npt.NDArray[np.float32]
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    raw: Any = None
    backend: str = ""
    endpoint_id: str = ""
    request_id: str = ""
    attempts: int = 1
    latency: float = 0.0
    implementation_type: str = REAL
    device: str | None = None
    precision: str | None = None

    def __len__(self) -> int:
        return len(self.embeddings)
