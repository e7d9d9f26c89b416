"""Options as Gemini's request: generation config, tools, structured output, thinking.

https://ai.google.dev/api/generate-content. An option of OpenAI's that Gemini has no word for is
refused by name; one that only Gemini has is taken as it is, in its place.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from api_backends.errors import InvalidRequestError
from api_backends.options import check_options

from .gemini_contents import is_third_generation, read_messages
from .gemini_schema import gemini_schema
from .gemini_tools import read_tool_choice, read_tools

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["chat_body"]

_RENAMED = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
    "n": "candidateCount",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_GENERATION = frozenset(
    (
        "candidateCount", "enableAffectiveDialog", "enableEnhancedCivicAnswers",
        "frequencyPenalty", "imageConfig", "logprobs", "maxOutputTokens", "mediaResolution",
        "presencePenalty", "responseFormat", "responseJsonSchema", "responseLogprobs",
        "responseMimeType", "responseModalities", "responseSchema", "seed", "speechConfig",
        "stopSequences", "temperature", "thinkingConfig", "topK", "topP", "translationConfig",
        "audioTimestamp", "routingConfig", "modelSelectionConfig",
    )
)  # fmt: skip
_THINKING = frozenset(("includeThoughts", "thinkingBudget", "thinkingLevel"))
_TOP = frozenset(("cachedContent", "labels", "safetySettings", "systemInstruction", "toolConfig"))
_REFUSED = frozenset(
    (
        "logit_bias", "user", "metadata", "prediction", "verbosity", "prompt_cache_key",
        "prompt_cache_retention", "safety_identifier", "min_p", "repetition_penalty", "suffix",
        "best_of", "echo",
    )
)  # fmt: skip
_EFFORT_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
_EFFORT_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH"}
_TIERS = {"auto": None, "default": "standard"}


def chat_body(
    messages: Sequence[Mapping[str, Any]],
    model: str | None,
    options: Mapping[str, Any],
    *,
    stream: bool = False,
    signatures: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the JSON body of a generateContent or streamGenerateContent request.

    Args:
        messages: Messages as `normalize_messages` returns them.
        model: Model to ask; not in the body, but generations differ in what they take.
        options: OpenAI's, translated, and Gemini's own (`safetySettings`, `thinkingConfig`, …, also
            in snake_case), put where they belong. One that is None is left out.
        stream: Whether the answer is to come in pieces; the route says so, not the body.
        signatures: Thought signatures of earlier calls, by the id of the call.

    Raises:
        InvalidRequestError: An option or a message can't be honoured; the error names it.
    """
    return _Request(model, options, stream).build(messages, signatures)


class _Request:
    """A body in the making: each option in its place, one after the other."""

    def __init__(self, model: str | None, options: Mapping[str, Any], stream: bool) -> None:
        self._model = model
        self._options = {k: v for k, v in options.items() if v is not None}
        self._stream = stream
        self._body: dict[str, Any] = {}
        self._config: dict[str, Any] = {}
        self._thinking: dict[str, Any] = {}
        self._tools: list[dict[str, Any]] = []
        self._is_strict = False

    def build(
        self, messages: Sequence[Mapping[str, Any]], signatures: Mapping[str, str] | None
    ) -> dict[str, Any]:
        options = self._options
        # Tools of Google's own have another shape; `read_tools` checks them all.
        check_options({k: v for k, v in options.items() if k != "tools"})
        self._config.update(self._given("generationConfig", "generation_config"))
        for name, value in options.items():
            self._take(name, value)
        self._choose_tools()
        conversation = read_messages(messages, self._model, signatures)
        body: dict[str, Any] = {"contents": conversation.contents}
        if conversation.system:
            if "systemInstruction" in self._body:
                raise InvalidRequestError(
                    "systemInstruction: messages hold a system prompt too; give one of the two"
                )
            body["systemInstruction"] = {"parts": [{"text": t} for t in conversation.system]}
        if conversation.resolution is not None:
            self._config.setdefault("mediaResolution", conversation.resolution)
        if self._thinking:
            given = self._config.get("thinkingConfig")
            self._config["thinkingConfig"] = {
                **(given if isinstance(given, dict) else {}),
                **self._thinking,
            }
        if self._tools:
            body["tools"] = self._tools
        body.update(self._body)
        if self._config:
            body["generationConfig"] = self._config
        return body

    def _given(self, *names: str) -> dict[str, Any]:
        for name in names:
            value = self._options.get(name)
            if value is not None:
                if not isinstance(value, dict):
                    raise InvalidRequestError(
                        f"{name} takes a dictionary, not {type(value).__name__}"
                    )
                return dict(value)
        return {}

    def _take(self, name: str, value: Any) -> None:
        native = _camel(name)
        if name in self.ways:
            self.ways[name](self, name, value)
        elif name in _RENAMED:
            self._set(name, _RENAMED[name], value)
        elif name in _REFUSED:
            raise InvalidRequestError(
                f"{name}: Gemini has no such option; leave it out, or say it in the prompt"
            )
        elif native in _GENERATION:
            self._set(name, native, value)
        elif native in _THINKING:
            self._thinking[native] = value
        elif native in _TOP:
            self._body[native] = value
        else:
            self._body[name] = value

    def _set(self, name: str, native: str, value: Any) -> None:
        had = self._config.get(native, value)
        if had != value and name in ("max_tokens", "max_completion_tokens"):
            raise InvalidRequestError(
                f"{name}: {value!r}, but {had!r} by another name; give one of the two"
            )
        self._config[native] = value

    # -- options that need more than another name -------------------------------------------------

    def _skip(self, name: str, value: Any) -> None:
        """Pass over what is read elsewhere."""

    def _take_stream(self, name: str, value: Any) -> None:
        if bool(value) is not self._stream:
            raise InvalidRequestError(
                f"stream={value!r}: call "
                + ("chat() for an answer in one" if self._stream else "stream_chat() for pieces")
            )

    def _take_stream_options(self, name: str, value: dict[str, Any]) -> None:
        # Token counts come with every stream, asked for or not.
        unknown = [key for key in value if key != "include_usage"]
        if unknown:
            raise InvalidRequestError(f"{name}.{unknown[0]}: Gemini has no such option")

    def _take_stop(self, name: str, value: Any) -> None:
        self._config["stopSequences"] = [value] if isinstance(value, str) else list(value)

    def _take_logprobs(self, name: str, value: Any) -> None:
        # Gemini's own `logprobs` is a number: how many.
        if isinstance(value, bool):
            if value:
                self._config["responseLogprobs"] = True
        else:
            self._config["logprobs"] = value

    def _take_top_logprobs(self, name: str, value: int) -> None:
        if self._options.get("logprobs") is not True:
            raise InvalidRequestError("top_logprobs: needs logprobs=True beside it")
        self._config["logprobs"] = value

    def _take_response_format(self, name: str, value: dict[str, Any]) -> None:
        kind = value["type"]
        if kind == "text":
            return
        if kind not in ("json_object", "json_schema"):
            raise InvalidRequestError(
                f"{name}.type: Gemini has no {kind!r}; it has text, json_object and json_schema"
            )
        self._config["responseMimeType"] = "application/json"
        if kind == "json_object":
            return
        named = value.get("json_schema")
        given = named.get("schema") if isinstance(named, dict) else value.get("schema")
        where = f"{name}.json_schema.schema"
        schema = gemini_schema(given, where)
        said = named.get("description") if isinstance(named, dict) else None
        if said and "description" not in schema:
            schema = {**schema, "description": said}
        self._config["responseJsonSchema"] = schema

    def _take_effort(self, name: str, effort: str) -> None:
        options = {_camel(key) for key in self._options} | self._config.keys()
        if options & {"thinkingBudget", "thinkingLevel"}:
            raise InvalidRequestError(
                f"{name}: thinking is set another way too; give one of the two"
            )
        generation = _generation(self._model)
        is_pro = "pro" in (self._model or "")
        if generation == (2, 5) and not (effort == "none" and is_pro):
            if effort in _EFFORT_BUDGETS:
                self._thinking["thinkingBudget"] = _EFFORT_BUDGETS[effort]
                return
        elif generation is None or generation >= (3, 0):
            if effort in _EFFORT_LEVELS:
                # The Pro models begin at low.
                level = "LOW" if is_pro and effort == "minimal" else _EFFORT_LEVELS[effort]
                self._thinking["thinkingLevel"] = level
                return
        elif generation < (2, 5):
            raise InvalidRequestError(f"{name}: {self._model} doesn't think; leave it out")
        raise InvalidRequestError(
            f"{name}: {self._model} knows no {effort!r}; use low, medium or high, or "
            "thinkingConfig for what only Gemini has"
        )

    def _take_modalities(self, name: str, value: Any) -> None:
        known = ("text", "image", "audio")
        if not isinstance(value, (list, tuple)) or not all(m in known for m in value):
            raise InvalidRequestError(f"{name} takes a list of text, image and audio")
        self._config["responseModalities"] = [modality.upper() for modality in value]

    def _take_audio(self, name: str, value: Any) -> None:
        if not isinstance(value, dict) or not isinstance(value.get("voice"), str):
            raise InvalidRequestError(f'{name} takes {{"voice": "Kore", "format": "pcm16"}}')
        if value.get("format", "pcm16") != "pcm16":
            raise InvalidRequestError(
                f"{name}.format: Gemini speaks pcm16 (24 kHz) alone, not {value['format']!r}"
            )
        voice = {"prebuiltVoiceConfig": {"voiceName": value["voice"]}}
        self._config["speechConfig"] = {"voiceConfig": voice}

    def _take_tier(self, name: str, value: Any) -> None:
        tier = _TIERS.get(value, value)
        if tier is not None:
            self._body["serviceTier"] = tier

    def _take_search(self, name: str, value: Any) -> None:
        if value:
            raise InvalidRequestError(
                f"{name}.{next(iter(value))}: Gemini's search takes no settings; give {{}}"
            )
        self._tools.append({"googleSearch": {}})

    def _take_tools(self, name: str, value: Any) -> None:
        declared, strict = read_tools(name, value)
        self._tools.extend(declared)
        self._is_strict = self._is_strict or strict

    def _take_parallel(self, name: str, value: bool) -> None:
        if not value:
            raise InvalidRequestError(
                f"{name}=False: Gemini can't be kept to one call at a time; leave it out"
            )

    def _choose_tools(self) -> None:
        choice = self._options.get("tool_choice", self._options.get("function_call"))
        chosen = read_tool_choice(choice, strict=self._is_strict)
        if chosen is not None:
            given = self._body.get("toolConfig")
            self._body["toolConfig"] = {
                **(given if isinstance(given, dict) else {}),
                "functionCallingConfig": chosen,
            }

    ways: ClassVar[dict[str, Callable[[_Request, str, Any], None]]] = {
        "generationConfig": _skip,
        "generation_config": _skip,
        "tool_choice": _skip,
        "function_call": _skip,
        "stream": _take_stream,
        "stream_options": _take_stream_options,
        "stop": _take_stop,
        "logprobs": _take_logprobs,
        "top_logprobs": _take_top_logprobs,
        "response_format": _take_response_format,
        "reasoning_effort": _take_effort,
        "modalities": _take_modalities,
        "audio": _take_audio,
        "service_tier": _take_tier,
        "web_search_options": _take_search,
        "tools": _take_tools,
        "functions": _take_tools,
        "parallel_tool_calls": _take_parallel,
    }


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def _generation(model: str | None) -> tuple[int, int] | None:
    """Return (2, 5) for gemini-2.5-…, None for names that don't tell and are of the latest."""
    name = (model or "").lower()
    found = re.search(r"gemini-(\d+)(?:\.(\d+))?", name)
    if found:
        return int(found[1]), int(found[2] or 0)
    return None if is_third_generation(model) or "gemini" in name else (0, 0)
