"""Conversations for people in a hurry: the right model, messages put together, tools run."""

from __future__ import annotations

import base64
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from .answers import ModerationResponse
from .attachments import image_type
from .context_windows import nearest_models
from .errors import ContentFilterError, InvalidRequestError
from .function_tools import Toolbox, conversation, failure
from .messages import normalize_messages
from .protocols.openai_moderation import ModerationRoutes
from .token_counting import TokenCounting
from .types import ChatCompletionResponse
from .uploads import read_upload

__all__ = ["Conversations"]

_IMAGE_LIMIT = 20 * 1024 * 1024  # https://platform.openai.com/docs/guides/images-vision
_NO_VISION = ("gpt-3.5", "gpt-4-0613", "gpt-4-32k", "o1-mini", "o1-preview", "o3-mini")


class Conversations(TokenCounting, ModerationRoutes):
    """`determine_model`, `process_messages`, `chat_with_functions`, `moderated_chat`."""

    audio_chat_model: ClassVar[str] = "gpt-4o-audio-preview"
    long_context_model: ClassVar[str] = "gpt-4.1-mini"

    def determine_model(self, messages: Any = None, model: str | None = None) -> str:
        """Return the model to ask: the one that is named, if it can do what the messages need.

        Args:
            messages: Messages as for `chat`: images, sound and length decide where no model is
                named.
            model: The caller's choice; checked, not changed.

        Raises:
            InvalidRequestError: The named model is not one of this back end's, takes no images
                where there are some, or is too small.
        """
        checked = normalize_messages(messages) if messages is not None else []
        kinds = _kinds(checked)
        if model is not None:
            self._check_choice(model, kinds)
            return model
        if "input_audio" in kinds:
            return self.audio_chat_model
        chosen = self.get_default_model() or self.long_context_model
        if checked and self.fits(checked, chosen) is False:
            return self.long_context_model
        return self.long_context_model if _is_blind(chosen) and "image_url" in kinds else chosen

    def _check_choice(self, model: str, kinds: set[str]) -> None:
        if not self.is_compatible_model(model):
            raise InvalidRequestError(
                f"model: {model!r} is not one of {self.name}'s{_near(model)}", backend=self.name
            )
        if "image_url" in kinds and _is_blind(model):
            raise InvalidRequestError(
                f"model: {model!r} sees no images; take {self.default_model!r}, or leave them out"
            )

    def process_messages(
        self,
        messages: Any,
        system: str | None = None,
        images: Sequence[Any] | None = None,
        max_tokens: int | None = None,
        model: str | None = None,
    ) -> list[dict[str, Any]]:
        """Put messages together as `chat` sends them; nothing that was given is changed.

        Args:
            messages: A text or messages.
            system: Instructions, put in front.
            images: Web addresses, paths or bytes, added to the last message of the user.
            max_tokens: Leave out the oldest turns until this many are left at most; system
                messages and the last turn stay, tool calls stay with their results.
            model: Whose tokens are counted.

        Raises:
            InvalidRequestError: A message is wrong, an image is none or over 20 MiB, or even the
                last turn is longer than `max_tokens`.
        """
        checked = list(normalize_messages(messages))
        if system is not None:
            checked.insert(0, {"role": "system", "content": system})
        if images:
            checked = _with_images(checked, images)
        if max_tokens is not None:
            checked = self._shortened(checked, max_tokens, model)
        return checked

    def _shortened(
        self, messages: list[dict[str, Any]], max_tokens: int, model: str | None
    ) -> list[dict[str, Any]]:
        head = [m for m in messages if m["role"] in ("system", "developer")]
        turns: list[list[dict[str, Any]]] = []
        for message in messages:
            if message["role"] in ("system", "developer"):
                continue
            if message["role"] == "user" or not turns:
                turns.append([])
            turns[-1].append(message)
        while turns:
            kept = [*head, *(message for turn in turns for message in turn)]
            if self.count_tokens(kept, model) <= max_tokens:
                return kept
            turns.pop(0)
        raise InvalidRequestError(
            f"max_tokens: even the last turn has more than {max_tokens} tokens; shorten it"
        )

    def chat_with_functions(
        self,
        messages: Any,
        functions: Any,
        model: str | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        max_rounds: int = 8,
        **options: Any,
    ) -> ChatCompletionResponse:
        """Chat with a model that may call functions: they are run, and it gets what they return.

        Args:
            messages: As for `chat`.
            functions: A list of functions (their signature and docstring become the tools), or a
                dictionary of names and functions.
            model: As for `chat`.
            tools: The tools' schemas, where the caller has written them.
            max_rounds: How many times functions are run at most. After that the model's answer is
                returned as it is: with `finish_reason` "tool_calls" if it wanted more.
            options: As for `chat`.

        Returns:
            The last answer. An error within a function is told to the model, not raised.
        """
        toolbox, steps = _begin(messages, functions, tools, max_rounds)
        options["tools"] = toolbox.tools
        step = next(steps)
        while True:
            try:
                if isinstance(step, list):
                    step = steps.send(self.chat(step, model, **options))
                else:
                    step = steps.send([_not_async(result) for result in step])
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]

    async def achat_with_functions(
        self,
        messages: Any,
        functions: Any,
        model: str | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        max_rounds: int = 8,
        **options: Any,
    ) -> ChatCompletionResponse:
        """Do what `chat_with_functions` does; functions may be async, too."""
        toolbox, steps = _begin(messages, functions, tools, max_rounds)
        options["tools"] = toolbox.tools
        step = next(steps)
        while True:
            try:
                if isinstance(step, list):
                    step = steps.send(await self.achat(step, model, **options))
                else:
                    step = steps.send([await _awaited(result) for result in step])
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]

    def moderated_chat(
        self,
        messages: Any,
        model: str | None = None,
        *,
        moderate_answer: bool = True,
        **options: Any,
    ) -> ChatCompletionResponse:
        """Chat, if neither what the user says nor what the model answers offends.

        Args:
            messages: As for `chat`; what the user says last is moderated before it is sent.
            model: As for `chat`.
            moderate_answer: Whether the answer is moderated, too.
            options: As for `chat`.

        Raises:
            ContentFilterError: Something offends; the message names the categories.
        """
        checked = normalize_messages(messages)
        self._refuse(self.moderate(_said_last(checked)), "the message", model)
        answer = self.chat(checked, model, **options)
        if moderate_answer and answer.content:
            self._refuse(self.moderate(answer.content), "the answer", model)
        return answer

    async def amoderated_chat(
        self,
        messages: Any,
        model: str | None = None,
        *,
        moderate_answer: bool = True,
        **options: Any,
    ) -> ChatCompletionResponse:
        """Do what `moderated_chat` does, without blocking the event loop."""
        checked = normalize_messages(messages)
        self._refuse(await self.amoderate(_said_last(checked)), "the message", model)
        answer = await self.achat(checked, model, **options)
        if moderate_answer and answer.content:
            self._refuse(await self.amoderate(answer.content), "the answer", model)
        return answer

    def _refuse(self, verdict: ModerationResponse, what: str, model: str | None) -> None:
        if verdict.flagged:
            reasons = sorted({reason for result in verdict.results for reason in result.reasons})
            raise ContentFilterError(
                f"{what} was flagged by moderation ({', '.join(reasons) or 'no category given'}): "
                "rephrase it",
                backend=self.name,
                model=model,
                code="content_filter",
                body=verdict.raw,
            )


def _begin(
    messages: Any, functions: Any, tools: Sequence[Mapping[str, Any]] | None, max_rounds: int
) -> tuple[Toolbox, Any]:
    if not isinstance(max_rounds, int) or isinstance(max_rounds, bool) or max_rounds < 1:
        raise InvalidRequestError(f"max_rounds: {max_rounds!r}; give a whole number above 0")
    toolbox = Toolbox(functions, tools)
    return toolbox, conversation(normalize_messages(messages), toolbox, max_rounds)


def _not_async(result: Any) -> Any:
    if inspect.iscoroutine(result):
        result.close()
        raise InvalidRequestError(
            "functions: one of them is async; use achat_with_functions() for it"
        )
    return result


async def _awaited(result: Any) -> Any:
    if not inspect.isawaitable(result):
        return result
    try:
        return await result
    except Exception as error:  # noqa: BLE001 - told to the model
        return failure(error)


def _kinds(messages: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the types of parts that the messages hold."""
    lists = (m["content"] for m in messages if isinstance(m.get("content"), (list, tuple)))
    return {part["type"] for parts in lists for part in parts}


def _is_blind(model: str) -> bool:
    return model == "gpt-4" or model.startswith(_NO_VISION)


def _near(model: str) -> str:
    near = nearest_models(model, ("openai",))
    return f"; did you mean {near[0]!r}?" if near else ""


def _said_last(messages: Sequence[Mapping[str, Any]]) -> Any:
    """Return what the user said last, in the shape that moderation takes."""
    for message in reversed(messages):
        if message["role"] == "user":
            content = message["content"]
            if isinstance(content, str):
                return content
            return [part for part in content if part["type"] in ("text", "image_url")]
    raise InvalidRequestError("messages: the user says nothing; there is nothing to moderate")


def _with_images(messages: list[dict[str, Any]], images: Sequence[Any]) -> list[dict[str, Any]]:
    if isinstance(images, (str, bytes)):
        images = [images]
    place = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=None)
    if place is None:
        raise InvalidRequestError("images: there is no message of the user to add them to")
    content = messages[place]["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    parts += [
        {"type": "image_url", "image_url": {"url": _image_url(image, f"images[{number}]")}}
        for number, image in enumerate(images)
    ]
    return [*messages[:place], {**messages[place], "content": parts}, *messages[place + 1 :]]


def _image_url(image: Any, argument: str) -> str:
    if isinstance(image, str) and image.startswith(("https://", "http://", "data:")):
        return image
    data = read_upload(image, argument, limit=_IMAGE_LIMIT, kind="image").data
    kind = image_type(data)
    if kind is None:
        raise InvalidRequestError(f"{argument}: its bytes are no image; give a PNG, JPEG, …")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
