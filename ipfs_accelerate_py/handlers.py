"""Callables for a model: on one endpoint, or on the best one that is up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from api_backends.errors import ApiError, InvalidRequestError

if TYPE_CHECKING:
    from .endpoints import Endpoint

__all__ = ["Handler", "HandlerTable"]

log = logging.getLogger(__name__)


class Handler:
    """`handler(data)` answers; `await handler.acall(data)` does so without blocking.

    A handler of one endpoint asks that one alone. A handler without one asks the endpoints of its
    model in order (device here, own server, API) and goes on to the next when one is down; the
    result's `backend` (and `device`) says which answered.
    """

    def __init__(
        self, model: str, endpoint_type: str | None, find: Callable[[], list[Endpoint]]
    ) -> None:
        self.model = model
        self.endpoint_type = endpoint_type
        self._find = find

    def __call__(self, data: Any, **options: Any) -> Any:
        """Answer `data`.

        Args:
            data: Text, texts, messages, or a dictionary (a back end's own JSON).
            options: The back end's and the engine's; `stream=True` for an answer in pieces,
                `task="embed"` or `"chat"` where the model's name doesn't tell.

        Raises:
            ApiError: The request is wrong, or every endpoint failed.
        """
        failures: list[tuple[str, ApiError]] = []
        for endpoint in self._find():
            try:
                return endpoint.call(data, dict(options))
            except ApiError as error:
                self._note(endpoint, error, failures)
        raise combined(self.model, failures)

    async def acall(self, data: Any, **options: Any) -> Any:
        """Do what calling does, without blocking the event loop."""
        failures: list[tuple[str, ApiError]] = []
        for endpoint in self._find():
            try:
                return await endpoint.acall(data, dict(options))
            except ApiError as error:
                self._note(endpoint, error, failures)
        raise combined(self.model, failures)

    def _note(
        self, endpoint: Endpoint, error: ApiError, failures: list[tuple[str, ApiError]]
    ) -> None:
        if isinstance(error, InvalidRequestError):
            raise error  # no other endpoint would do better
        failures.append((endpoint.type, error))
        log.info("%s on %s failed: %s", self.model, endpoint.type, error)

    @property
    def endpoints(self) -> list[str]:
        """The types of the endpoints that are asked, in order."""
        return [endpoint.type for endpoint in self._find()]

    def __repr__(self) -> str:
        return f"<Handler {self.model!r} on {self.endpoint_type or 'whatever is up'}>"


def combined(model: str, failures: list[tuple[str, ApiError]]) -> ApiError:
    """Return the error to raise when every endpoint failed: the last one's, telling of all."""
    last = failures[-1][1]
    if len(failures) > 1:
        told = "; ".join(f"{name}: {error}" for name, error in failures)
        last.message = f"every endpoint for {model!r} failed: {told}"
        last.args = (last.message,)
    return last


class HandlerTable:
    """`table(model, endpoint_type)` and `table[model][endpoint_type]`: the same handlers."""

    def __init__(self, get: Callable[[str, str | None], Handler]) -> None:
        self._get = get

    def __call__(self, model: str, endpoint_type: str | None = None) -> Handler:
        """Return the handler of a model on one endpoint type, or on the best that is up."""
        return self._get(model, endpoint_type)

    def __getitem__(self, model: str) -> HandlersOfModel:
        return HandlersOfModel(self._get, model)


class HandlersOfModel:
    """The handlers of one model by endpoint type."""

    def __init__(self, get: Callable[[str, str | None], Handler], model: str) -> None:
        self._get = get
        self._model = model

    def __getitem__(self, endpoint_type: str) -> Handler:
        return self._get(self._model, endpoint_type)
