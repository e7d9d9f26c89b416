"""The core: models to endpoints to handlers, and the truth about who answered."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from api_backends import registry
from api_backends.errors import ApiError, ConfigurationError

from .endpoints import Endpoint
from .handlers import Handler, HandlerTable
from .router import Router

__all__ = ["Accelerator", "ipfs_accelerate_py"]


class Accelerator:
    """Runs models on devices of this machine, on servers and behind APIs, by one call.

    Args:
        resources: `session` and `clock` for back ends; `local`: options for models on devices
            (`precision`, …).
        metadata: Settings and keys of back ends, all in one dictionary.
    """

    def __init__(
        self,
        resources: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.resources = dict(resources or {})
        self.metadata = metadata
        self._router = Router(self.resources, metadata)
        self._handlers: dict[tuple[str, str | None], Handler] = {}
        self._lock = threading.Lock()
        self.endpoint_handler = HandlerTable(self._handler)

    # -- endpoints ------------------------------------------------------------------------------

    def init_endpoints(
        self,
        models: str | Iterable[str],
        endpoint_list: Mapping[str, Any] | Iterable[Any] | None = None,
    ) -> dict[str, list[dict[str, Any]]]:
        """Find out how each model can be run; nothing is loaded or connected to yet.

        Args:
            models: Names of models, also as `backend/model`.
            endpoint_list: More endpoints: `{model: [type or URL, …]}`, or a list of
                `(model, type)` or `(model, type, endpoint)`.

        Returns:
            For each model its endpoints in the order in which they are asked; `needs` says what
            one still lacks.

        Raises:
            ModelNotFoundError: Nothing here runs one of the models.
            ConfigurationError: There is no such device or back end.
        """
        names = [models] if isinstance(models, str) else list(models)
        for model, endpoint_type, endpoint in _listed(endpoint_list):
            if endpoint is not None:
                self.add_endpoint(model, endpoint_type, endpoint)
            elif "://" in endpoint_type:
                self.add_endpoint(model, endpoint_type, endpoint_type)
            else:
                self._router.find(model, endpoint_type)
            if model not in names:
                names.append(model)
        return {
            model: [endpoint.describe() for endpoint in self._router.find(model, None)]
            for model in names
        }

    def add_endpoint(self, model: str, endpoint_type: str, endpoint: Any) -> dict[str, Any]:
        """Add an endpoint for a model: the URL of a server, a back end, or a callable.

        Returns:
            What may be shown of it.
        """
        return self._router.add(model, endpoint_type, endpoint).describe()

    def rm_endpoint(self, model: str, endpoint_type: str) -> None:
        """Forget an endpoint of a model."""
        self._router.remove(model, endpoint_type)

    def get_endpoints(self, model: str | None = None) -> dict[str, list[dict[str, Any]]]:
        """Return the endpoints of one model, or of all that were added or used, by model."""
        if model is not None:
            return {model: [endpoint.describe() for endpoint in self._router.find(model, None)]}
        return {
            name: [endpoint.describe() for endpoint in endpoints]
            for name, endpoints in self._router.known().items()
        }

    def query_endpoints(self, models: str | Iterable[str]) -> dict[str, list[dict[str, Any]]]:
        """Ask every endpoint of the models whether it can answer now; may ask the network."""
        names = [models] if isinstance(models, str) else list(models)
        return {model: [_queried(e) for e in self._router.find(model, None)] for model in names}

    def _handler(self, model: str, endpoint_type: str | None) -> Handler:
        """Return the one handler of a model and an endpoint type."""
        found = self._router.find(model, endpoint_type)
        name = None if endpoint_type is None else found[0].type
        with self._lock:
            handler = self._handlers.get((model, name))
            if handler is None:
                handler = Handler(model, name, lambda: self._router.find(model, name))
                self._handlers[model, name] = handler
            return handler

    # -- answers --------------------------------------------------------------------------------

    def process(
        self, model: str, data: Any, endpoint_type: str | None = None, **options: Any
    ) -> Any:
        """Run a model on an input.

        Args:
            model: Name of the model, also as `backend/model`.
            data: Text, texts, messages, or a dictionary (a back end's own JSON).
            endpoint_type: A device, a back end or a URL; the best that is up if None.
            options: See `Handler`.

        Raises:
            ModelNotFoundError: Nothing here runs the model.
            ApiError: The request is wrong, or every endpoint failed.
        """
        return self._handler(model, endpoint_type)(data, **options)

    async def process_async(
        self, model: str, data: Any, endpoint_type: str | None = None, **options: Any
    ) -> Any:
        """Do what `process` does, without blocking the event loop."""
        return await self._handler(model, endpoint_type).acall(data, **options)

    infer = process
    infer_async = process_async

    # -- what there is --------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return devices, back ends (what each still needs) and endpoints; asks no network."""
        import hardware

        return {
            "devices": [_device(device) for device in hardware.detect_devices()],
            "backends": self.backends(),
            "endpoints": self.get_endpoints(),
        }

    def backends(self) -> list[dict[str, Any]]:
        """Return every back end with what it can do and what it still needs."""
        return [self._backend_status(name) for name in registry.get_available_backends()]

    def _backend_status(self, name: str) -> dict[str, Any]:
        if not registry.is_built(name):
            return {"name": name, "ready": False, "needs": "a later version", "features": []}
        kind = registry.get_backend(name)
        try:
            needs = self._router.backend(name).missing()
            if needs is None and not kind.is_configured(self.metadata):
                needs = f"a server at {kind.default_url}, or its URL in {name.upper()}_API_URL"
        except ConfigurationError as error:
            needs = str(error)
        return {
            "name": name,
            "ready": needs is None,
            "needs": needs,
            "features": kind.capabilities.names(),
        }

    def test_hardware(self) -> dict[str, dict[str, Any]]:
        """Run a real sentence through the default model on every device; say what came of it.

        Returns:
            For each device `works` and, where it does not, the `reason`.
        """
        import hardware
        from hardware.models import default_model

        results: dict[str, dict[str, Any]] = {}
        for device in hardware.detect_devices():
            result: dict[str, Any] = {"name": device.name, "works": False, "reason": device.reason}
            if device.available:
                try:
                    model = hardware.load(default_model("feature-extraction"), device.id)
                    answer = model("Does this device compute?")
                    result.update(works=True, reason="", dimensions=answer.embeddings.shape[1])
                    result.update(precision=answer.precision, latency=answer.latency)
                except ApiError as error:
                    result["reason"] = str(error)
            results[device.id] = result
        return results

    def close(self) -> None:
        """Close every back end that was made here; handlers of back ends end with it."""
        self._router.close()
        with self._lock:
            self._handlers.clear()

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


ipfs_accelerate_py = Accelerator


def _listed(endpoint_list: Any) -> Iterable[tuple[str, str, Any]]:
    """Yield (model, type, endpoint or None) of an endpoint list in either form."""
    if endpoint_list is None:
        return
    if isinstance(endpoint_list, Mapping):
        for model, types in endpoint_list.items():
            for each in [types] if isinstance(types, str) else types:
                yield model, each, None
        return
    for entry in endpoint_list:
        if isinstance(entry, str) or not 2 <= len(entry) <= 3:
            raise ConfigurationError(
                f"endpoint_list: {entry!r}; an entry is (model, type) or (model, type, endpoint)"
            )
        yield entry[0], entry[1], entry[2] if len(entry) == 3 else None


def _queried(endpoint: Endpoint) -> dict[str, Any]:
    return {**endpoint.describe(), "reachable": endpoint.is_reachable()}


def _device(device: Any) -> dict[str, Any]:
    return {
        "id": device.id,
        "kind": device.kind,
        "name": device.name,
        "memory_bytes": device.memory_bytes,
        "instruction_sets": list(device.instruction_sets),
        "precisions": list(device.precisions),
        "available": device.available,
        "reason": device.reason,
    }
