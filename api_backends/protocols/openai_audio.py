"""Speech in and out, as OpenAI's API has it: transcription, translation, speech.

https://platform.openai.com/docs/api-reference/audio; Groq speaks the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ..answers import Transcription
from ..base import BaseApiBackend
from ..errors import InvalidRequestError, InvalidResponseError
from ..exchange import ENGINE_OPTIONS
from ..routes import Field, Request, awaitable, blocking
from ..uploads import read_upload
from .openai_chat import read_usage
from .openai_errors import error_in

if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["AudioRoutes", "form_fields", "read_transcription"]

_AS_TEXT = ("text", "srt", "vtt")


def form_fields(options: Mapping[str, Any]) -> list[Field]:
    """Return options as the fields of a form: lists as `name[]`, objects as JSON."""
    fields: list[Field] = []
    for name, value in options.items():
        if value is None:
            continue
        if isinstance(value, (list, tuple)):
            fields += [(f"{name}[]", _form_text(item)) for item in value]
        else:
            fields.append((name, _form_text(value)))
    return fields


def _form_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def read_transcription(body: bytes, response_format: str | None, backend: str) -> Transcription:
    """Read a transcription, in whichever format it was asked for.

    Raises:
        ApiError: The answer reports an error.
        InvalidResponseError: It is not what was asked for.
    """
    text = body.decode("utf-8", "replace")
    if response_format in _AS_TEXT:
        return Transcription(text.rstrip("\n") if response_format == "text" else text, raw=text)
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        raw = None
    error = error_in(raw, backend=backend)
    if error is not None:
        raise error
    if not isinstance(raw, dict) or not isinstance(raw.get("text"), str):
        raise InvalidResponseError(
            f"{backend} sent no transcription: {text[:120]!r}; check the base URL and the model",
            body=raw,
        )
    language, duration = raw.get("language"), raw.get("duration")
    return Transcription(
        raw["text"],
        language if isinstance(language, str) else None,
        _number(duration),
        _dictionaries(raw.get("segments")),
        _dictionaries(raw.get("words")),
        usage=read_usage(raw),
        raw=raw,
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value)


def _dictionaries(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


class AudioRoutes(BaseApiBackend):
    """Transcription, translation and speech."""

    default_transcription_model: ClassVar[str] = "gpt-4o-mini-transcribe"
    default_translation_model: ClassVar[str] = "whisper-1"
    default_speech_model: ClassVar[str] = "gpt-4o-mini-tts"
    default_voice: ClassVar[str] = "alloy"
    audio_suffixes: ClassVar[tuple[str, ...]] = (
        "flac", "mp3", "mp4", "mpeg", "mpga", "m4a", "ogg", "wav", "webm",
    )  # fmt: skip
    audio_limit: ClassVar[int] = 25 * 1024 * 1024
    """The most bytes of a recording."""

    def _transcribe(self, file: Any, model: str | None = None, **options: Any) -> Request[Any]:
        """Write down what is said in a recording: a `Transcription`.

        Args:
            file: A path, bytes, a binary file object, or a tuple (name, any of these).
            model: Model; this back end's default if None.
            options: `response_format` ("json", "verbose_json", "text", "srt", "vtt"), `language`,
                `prompt`, `temperature`, `timestamp_granularities`, …, and the engine's options.

        Raises:
            InvalidRequestError: The file is missing, empty, too big or of another type.
        """
        model = self._model(model, lambda: self.default_transcription_model)
        return self._listen("/audio/transcriptions", file, model, options)

    def _translate_audio(self, file: Any, model: str | None = None, **options: Any) -> Request[Any]:
        """Write down in English what is said in a recording; arguments as for `transcribe`."""
        model = self._model(model, lambda: self.default_translation_model)
        return self._listen("/audio/translations", file, model, options)

    def _listen(
        self, path: str, file: Any, model: str | None, options: dict[str, Any]
    ) -> Request[Any]:
        upload = read_upload(
            file,
            "file",
            suffixes=self.audio_suffixes,
            limit=self.audio_limit,
            kind="recording",
            default_name="audio",
        )
        ours = {name: options.pop(name) for name in ENGINE_OPTIONS if name in options}
        if options.get("stream"):
            raise InvalidRequestError("stream: a transcription comes whole; leave it out")
        wanted = options.get("response_format")
        fields: list[Field] = [("file", upload), ("model", model or ""), *form_fields(options)]
        return self._request(
            "POST",
            path,
            fields=fields,
            model=model,
            answer="bytes",
            read=lambda body: read_transcription(body, wanted, self.name),
            **ours,
        )

    def _text_to_speech(
        self, text: str, voice: str | None = None, model: str | None = None, **options: Any
    ) -> Request[bytes]:
        """Speak a text: the bytes of a sound file.

        Args:
            text: What to say.
            voice: Whose voice; this back end's default if None.
            model: Model; this back end's default if None.
            options: `response_format` ("mp3", "wav", …), `speed`, `instructions`, …, and the
                engine's options.
        """
        return self._speech(text, voice, model, options)

    def _text_to_speech_file(
        self,
        text: str,
        path: str | os.PathLike[str],
        voice: str | None = None,
        model: str | None = None,
        **options: Any,
    ) -> Request[Path]:
        """Speak a text into a file while the sound comes in; return the file's path.

        The file appears whole or not at all. Other arguments as for `text_to_speech`.
        """
        return self._speech(text, voice, model, {**options, "save_to": path})

    def _speech(
        self, text: str, voice: str | None, model: str | None, options: dict[str, Any]
    ) -> Request[Any]:
        if not isinstance(text, str) or not text.strip():
            raise InvalidRequestError(f"text: {text!r:.80} is nothing to say; give a text")
        model = self._model(model, lambda: self.default_speech_model)
        ours = {k: options.pop(k) for k in (*ENGINE_OPTIONS, "save_to") if k in options}
        body = {"model": model, "input": text, "voice": voice or self.default_voice, **options}
        return self._request(
            "POST", "/audio/speech", json=body, model=model, answer="bytes", read=_sound, **ours
        )

    transcribe, atranscribe = blocking(_transcribe), awaitable(_transcribe)
    translate_audio, atranslate_audio = blocking(_translate_audio), awaitable(_translate_audio)
    text_to_speech, atext_to_speech = blocking(_text_to_speech), awaitable(_text_to_speech)
    text_to_speech_file = blocking(_text_to_speech_file)
    atext_to_speech_file = awaitable(_text_to_speech_file)


def _sound(body: bytes) -> bytes:
    if body[:1] == b"{" or not body:
        raise InvalidResponseError(
            f"no sound came, but {body[:120]!r}; check the base URL and the model"
        )
    return body
