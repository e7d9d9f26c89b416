"""OpenAI's Responses API: answers kept at the provider, tools of its own, reasoning items."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from .async_calls import iterate_stream
from .base import BaseApiBackend
from .chat_stream import ChatStream
from .exchange import ENGINE_OPTIONS, Exchange, split_options
from .protocols.openai_files import object_reader
from .protocols.openai_responses import read_response, responses_body
from .protocols.openai_responses_stream import ResponsesStreamReader
from .routes import Request, awaitable, blocking, path_part
from .types import ChatCompletionResponse, StreamChunk

__all__ = ["ResponsesRoutes"]


class ResponsesRoutes(BaseApiBackend):
    """`respond` and `stream_respond`, with results of the same shape as those of `chat`."""

    def _respond(
        self, input: Any = None, model: str | None = None, **options: Any
    ) -> Request[ChatCompletionResponse]:
        """Ask a model by way of the Responses API, wait for its whole answer.

        Args:
            input: A text, messages as for `chat`, items as the API has them (also mixed), or
                earlier answers, whose items (reasoning too) are then sent back unchanged.
            model: Model to ask; this back end's default if None.
            options: `instructions`, `previous_response_id`, `tools`, `reasoning`, `text`, … as the
                API spells them, or as `chat` does; and the engine's.

        Returns:
            The answer; `raw["output"]` has every item, those of built-in tools among them.

        Raises:
            ApiError: See `api_backends.errors`.
        """
        model, body, control = self._responses_call(input, model, options, stream=False)
        return self._request(
            "POST",
            "/responses",
            json=body,
            model=model,
            read=self._read_response,
            **control,
        )

    respond, arespond = blocking(_respond), awaitable(_respond)

    def stream_respond(
        self, input: Any = None, model: str | None = None, **options: Any
    ) -> ChatStream:
        """Do what `respond` does, and get the answer as it is written.

        Chunks and errors are those of `stream_chat`.
        """
        exchange = self._responses_exchange(input, model, options)
        stream, lease = self._engine.open(exchange.call, exchange.open)
        stream.lease = lease
        return stream

    async def astream_respond(
        self, input: Any = None, model: str | None = None, **options: Any
    ) -> AsyncIterator[StreamChunk]:
        """Do what `stream_respond` does, as an async iterator."""
        exchange = self._responses_exchange(input, model, options)
        opening = self._engine.submit(exchange.call, exchange.open, hold=True)
        async for chunk in iterate_stream(opening, self._engine.workers.start):
            yield chunk

    def _retrieve_response(
        self, response_id: str, **options: Any
    ) -> Request[ChatCompletionResponse]:
        """Return an answer that is kept at the provider; `finish_reason` is None while it runs."""
        path = f"/responses/{path_part(response_id, 'response_id')}"
        return self._request("GET", path, read=self._read_response, **options)

    def _cancel_response(self, response_id: str, **options: Any) -> Request[ChatCompletionResponse]:
        """Cancel an answer that is made in the background; return what there is of it."""
        path = f"/responses/{path_part(response_id, 'response_id')}/cancel"
        return self._request("POST", path, json={}, read=self._read_response, **options)

    def _delete_response(self, response_id: str, **options: Any) -> Request[dict[str, Any]]:
        """Delete an answer that is kept at the provider; return what it says of it."""
        path = f"/responses/{path_part(response_id, 'response_id')}"
        return self._request("DELETE", path, read=object_reader(self.name).one, **options)

    retrieve_response, aretrieve_response = (
        blocking(_retrieve_response),
        awaitable(_retrieve_response),
    )
    cancel_response, acancel_response = blocking(_cancel_response), awaitable(_cancel_response)
    delete_response, adelete_response = blocking(_delete_response), awaitable(_delete_response)

    def _read_response(self, raw: Any) -> ChatCompletionResponse:
        return read_response(raw, backend=self.name)

    def _responses_call(
        self, asked: Any, model: str | None, options: dict[str, Any], *, stream: bool
    ) -> tuple[str | None, dict[str, Any], dict[str, Any]]:
        # A stored prompt says itself which model it is for.
        named = model is not None or "prompt" not in options
        model = self._model(model, self.get_default_model) if named else None
        ours = {name: options.pop(name) for name in ENGINE_OPTIONS if name in options}
        return model, responses_body(asked, model, options, stream=stream), ours

    def _responses_exchange(
        self, asked: Any, model: str | None, options: dict[str, Any]
    ) -> Exchange:
        model, body, ours = self._responses_call(asked, model, options, stream=True)
        control = split_options(ours)
        exchange = self._exchange("/responses", body, control, model, stream=True)
        exchange.read_answer = self._read_response
        exchange.reader = lambda _: ResponsesStreamReader(backend=self.name)
        return exchange
