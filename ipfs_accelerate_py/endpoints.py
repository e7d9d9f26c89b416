"""What can answer for a model: a device of this machine, a server, an API, or your own function.

All of them look alike to the router: called with data, they answer or raise an `ApiError`.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from api_backends.errors import ApiError, ConfigurationError, InvalidRequestError

if TYPE_CHECKING:
    from api_backends.base import BaseApiBackend
    from hardware import LocalModel

__all__ = ["BackendEndpoint", "CallableEndpoint", "Endpoint", "LocalEndpoint"]

LOCAL, OWN_SERVER, API = range(3)
"""The order in which kinds of endpoints are asked."""

TASKS = ("chat", "embed")


class Endpoint(ABC):
    """One way to get an answer for one model."""

    rank: int
    kind: ClassVar[str]

    def __init__(self, model: str, endpoint_type: str) -> None:
        self.model = model
        self.type = endpoint_type

    @abstractmethod
    def call(self, data: Any, options: dict[str, Any]) -> Any:
        """Answer `data`, or raise an ApiError."""

    @abstractmethod
    async def acall(self, data: Any, options: dict[str, Any]) -> Any:
        """Do what `call` does, without blocking the event loop."""

    def needs(self) -> str | None:
        """Return what is missing before this can answer; None if nothing is."""
        return None

    def is_reachable(self) -> bool:
        """Say whether this can answer now; may ask the network."""
        return self.needs() is None

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Give up what this holds for itself alone."""

    def describe(self) -> dict[str, Any]:
        """Return what may be shown of it."""
        return {"model": self.model, "type": self.type, "kind": self.kind, "needs": self.needs()}


class LocalEndpoint(Endpoint):
    """A model on a device of this machine; loaded when it is first called."""

    kind = "local device"
    rank = LOCAL

    def __init__(self, model: str, endpoint_type: str, options: Mapping[str, Any]) -> None:
        super().__init__(model, endpoint_type)
        self._options = dict(options)
        self._lock = threading.Lock()
        self._loaded: LocalModel | None = None

    def _load(self) -> LocalModel:
        with self._lock:
            if self._loaded is None:
                import hardware

                # Cheap: the weights themselves are read by the first call.
                self._loaded = hardware.load(self.model, self.type, **self._options)
            return self._loaded

    def close(self) -> None:
        """Give the model up; its memory is freed with its last user."""
        with self._lock:
            loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.close()

    def call(self, data: Any, options: dict[str, Any]) -> Any:
        """Run the model."""
        task = options.pop("task", None)
        if task not in (None, "embed"):
            raise InvalidRequestError(
                f"task: {self.model} on {self.type} embeds; it can't {task!r}", model=self.model
            )
        return self._load()(data, **options)

    async def acall(self, data: Any, options: dict[str, Any]) -> Any:
        """Run the model on a thread."""
        return await asyncio.to_thread(self.call, data, options)

    def needs(self) -> str | None:
        """Return the package or device that is missing."""
        import hardware

        try:
            device = hardware.resolve_device(self.type)
        except ApiError as error:
            return str(error)
        return None if device.available else device.reason


class BackendEndpoint(Endpoint):
    """A model behind a back end: an API, or a server of one's own."""

    def __init__(
        self, model: str, endpoint_type: str, backend: BaseApiBackend, *, embeds: bool
    ) -> None:
        super().__init__(model, endpoint_type)
        self.backend = backend
        self._embeds = embeds
        self.rank = OWN_SERVER if backend.is_self_hosted else API

    @property
    def kind(self) -> str:  # type: ignore[override]  # depends on where the back end points to
        """Where the answer comes from."""
        return "own server" if self.rank == OWN_SERVER else "API"

    def _task(self, data: Any, options: dict[str, Any]) -> str:
        task = options.pop("task", None)
        if task is None:
            is_texts = isinstance(data, (list, tuple)) and all(isinstance(x, str) for x in data)
            task = "embed" if self._embeds or (data and is_texts) else "chat"
        if task not in TASKS:
            raise InvalidRequestError(f"task: {task!r} is none of {', '.join(TASKS)}")
        return str(task)

    def call(self, data: Any, options: dict[str, Any]) -> Any:
        """Ask the back end: a dictionary is its own JSON, texts are embedded, the rest is chat."""
        backend = self.backend
        if isinstance(data, Mapping):
            return backend.make_post_request({"model": self.model, **data}, **options)
        if self._task(data, options) == "embed":
            return backend.embed(data, self.model, **options)
        if options.pop("stream", False):
            return backend.stream_chat(data, self.model, **options)
        return backend.chat(data, self.model, **options)

    async def acall(self, data: Any, options: dict[str, Any]) -> Any:
        """Ask the back end without blocking the event loop."""
        backend = self.backend
        if isinstance(data, Mapping):
            return await backend.amake_post_request({"model": self.model, **data}, **options)
        if self._task(data, options) == "embed":
            return await backend.aembed(data, self.model, **options)
        if options.pop("stream", False):
            return backend.astream_chat(data, self.model, **options)
        return await backend.achat(data, self.model, **options)

    def needs(self) -> str | None:
        """Return the key that is missing."""
        return self.backend.missing()

    def is_reachable(self) -> bool:
        """Ask the endpoint whether it is there."""
        return self.needs() is None and self.backend.test_endpoint()


class CallableEndpoint(Endpoint):
    """A function of the caller's own; asked first, since it was put there on purpose."""

    kind = "your function"
    rank = LOCAL

    def __init__(self, model: str, endpoint_type: str, function: Callable[..., Any]) -> None:
        super().__init__(model, endpoint_type)
        self._function = function

    def call(self, data: Any, options: dict[str, Any]) -> Any:
        """Call it."""
        return self._function(data, **options)

    async def acall(self, data: Any, options: dict[str, Any]) -> Any:
        """Call it, on a thread unless it has an `acall` of its own."""
        acall = getattr(self._function, "acall", None)
        if acall is not None:
            return await acall(data, **options)
        return await asyncio.to_thread(self._function, data, **options)


def checked_endpoint(endpoint: Any) -> Any:
    """Return `endpoint` if something can be made of it: a URL, a back end or a callable.

    Raises:
        ConfigurationError: It is none of them.
    """
    if isinstance(endpoint, str) or callable(endpoint) or hasattr(endpoint, "stream_chat"):
        return endpoint
    raise ConfigurationError(
        f"endpoint: {type(endpoint).__name__} given; it is a URL, a back end or a callable"
    )
