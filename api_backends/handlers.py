"""Callables that stand for an endpoint: what the core and legacy code pass around."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .exchange import ENGINE_OPTIONS
from .messages import normalize_messages

if TYPE_CHECKING:
    from .base import BaseApiBackend

__all__ = ["EndpointHandler"]


class EndpointHandler:
    """`handler(data)` posts the provider's own JSON to one endpoint; `handler.acall` awaits it.

    `data` may also be a string or a list of messages: it becomes the body of a chat request.
    """

    def __init__(
        self, backend: BaseApiBackend, endpoint_url: str | None, defaults: Mapping[str, Any]
    ) -> None:
        self.backend = backend
        self.endpoint_id: str | None = defaults.get("endpoint_id")
        api_key = defaults.get("api_key")
        if endpoint_url is not None:
            self.endpoint_id = backend.private_endpoint(endpoint_url, api_key)
        self._options = {k: v for k, v in defaults.items() if k in (*ENGINE_OPTIONS, "path")}
        self._body = {k: v for k, v in defaults.items() if k not in self._options}
        if self.endpoint_id is not None:
            self._options["endpoint_id"] = self.endpoint_id

    def __call__(self, data: Any, **options: Any) -> dict[str, Any]:
        """Post `data`; return the provider's JSON. Errors as for `chat`."""
        return self.backend.make_post_request(self._data(data), **{**self._options, **options})

    async def acall(self, data: Any, **options: Any) -> dict[str, Any]:
        """Do what calling does, without blocking the event loop."""
        return await self.backend.amake_post_request(
            self._data(data), **{**self._options, **options}
        )

    def _data(self, data: Any) -> dict[str, Any]:
        if isinstance(data, Mapping):
            body = {**self._body, **data}
        else:
            body = {**self._body, "messages": normalize_messages(data)}
        model = self.backend.get_default_model()
        if "model" not in body and model is not None:
            body["model"] = model
        return body

    def __repr__(self) -> str:
        return f"<EndpointHandler {self.backend.name!r} {self.endpoint_id or 'any endpoint'}>"
