"""What a back end can do, as flags: tests and the feature tables in the docs are made from them."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Capabilities"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One flag per feature; all of them tested where true."""

    chat: bool = False
    stream: bool = False
    tools: bool = False
    structured_output: bool = False
    vision: bool = False
    embeddings: bool = False
    list_models: bool = False
    audio_input: bool = False
    file_input: bool = False
    reasoning: bool = False
    responses: bool = False
    completions: bool = False
    transcription: bool = False
    speech: bool = False
    images: bool = False
    moderation: bool = False
    files: bool = False
    batches: bool = False
    token_counting: bool = False
    rate_limits: bool = False

    def names(self) -> list[str]:
        """Return the features that are there."""
        return [field.name for field in fields(self) if getattr(self, field.name)]
