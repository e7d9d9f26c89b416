"""Which endpoints answer for a model, in which order, and what happens when one is down."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from api_backends import registry
from api_backends.errors import ConfigurationError, InvalidRequestError, ModelNotFoundError

from .endpoints import BackendEndpoint, CallableEndpoint, Endpoint, LocalEndpoint, checked_endpoint
from .local_models import check_model, is_local_model, local_models, task_of

if TYPE_CHECKING:
    from api_backends.base import BaseApiBackend

__all__ = ["Router"]

DEVICE_KINDS = ("cuda", "openvino", "cpu")
"""Kinds of devices, the fastest first."""


class Router:
    """Finds the endpoints of models and keeps what it made: back ends, once each."""

    def __init__(self, resources: Mapping[str, Any], metadata: Mapping[str, Any] | None) -> None:
        self._resources = resources
        self._metadata = metadata
        self._lock = threading.RLock()
        self._backends: dict[str, BaseApiBackend] = {}
        self._endpoints: dict[str, dict[str, Endpoint]] = {}
        self._added: dict[str, dict[str, Endpoint]] = {}

    # -- finding --------------------------------------------------------------------------------

    def find(self, model: str, endpoint_type: str | None) -> list[Endpoint]:
        """Return the endpoints for a model, in the order in which they are asked.

        Args:
            model: A model's name, also as `backend/model`.
            endpoint_type: A device, a back end's name or a URL; all there are if None.

        Raises:
            ModelNotFoundError: Nothing here serves the model.
            ConfigurationError: There is no such device or back end.
        """
        checked_name(model)
        with self._lock:
            added = self._added.get(model, {})
            if endpoint_type is not None:
                name = self.canonical_type(endpoint_type, added)
                return [added.get(name) or self._get(model, name)]
            found = sorted(added.values(), key=lambda endpoint: endpoint.rank)
            names = {endpoint.type for endpoint in found}
            for name in self._candidates(model):
                if name not in names:
                    found.append(self._get(model, name))
        if not found:
            raise self._unknown(model)
        return sorted(found, key=lambda endpoint: endpoint.rank)

    def canonical_type(self, endpoint_type: Any, added: Mapping[str, Any] = {}) -> str:
        """Return the one name of an endpoint type: `openvino` and `openvino:0` are the same.

        Raises:
            ConfigurationError: There is no such device or back end; the message names those there
                are.
        """
        if not isinstance(endpoint_type, str) or not endpoint_type.strip():
            raise ConfigurationError(
                f"endpoint_type: {endpoint_type!r}; it is a device, a back end's name or a URL"
            )
        if endpoint_type in added:
            return endpoint_type
        name = endpoint_type.strip()
        if "://" in name:
            return name.rstrip("/")
        name = registry.ALIASES.get(name, name)
        if name in registry.get_available_backends():
            return name
        import hardware

        if name.partition(":")[0] in DEVICE_KINDS:
            return str(hardware.resolve_device(name).id)
        devices = ", ".join(device.id for device in hardware.detect_devices() if device.available)
        raise ConfigurationError(
            f"endpoint_type: no {endpoint_type!r}; devices here: {devices}; back ends: "
            f"{', '.join(n for n in registry.get_available_backends() if registry.is_built(n))}; "
            "or give a URL"
        )

    def _get(self, model: str, name: str) -> Endpoint:
        by_type = self._endpoints.setdefault(model, {})
        if name not in by_type:
            by_type[name] = self._make(model, name)
        return by_type[name]

    def _make(self, model: str, name: str) -> Endpoint:
        if name.partition(":")[0] in DEVICE_KINDS:
            check_model(model)
            options = self._resources.get("local") or {}
            return LocalEndpoint(model, name, options)
        backend, rest = self._split(model)
        served = rest if backend == name else model
        return BackendEndpoint(served, name, self.backend(name), embeds=_embeds(served))

    def _candidates(self, model: str) -> list[str]:
        """Return the types that serve a model without being told to."""
        named, rest = self._split(model)
        if named is not None:
            return [named]
        import hardware

        found = []
        if is_local_model(model):
            usable = [device for device in hardware.detect_devices() if device.available]
            for kind in DEVICE_KINDS:
                found += [device.id for device in usable if device.kind == kind][:1]
        for name in registry.get_available_backends():
            if not registry.is_built(name):
                continue
            kind_of = registry.get_backend(name)
            if kind_of.matches_model(rest) and kind_of.is_configured(self._metadata):
                found.append(name)
        return found

    def _split(self, model: str) -> tuple[str | None, str]:
        """Read `backend/model`; (None, model) where the first part names no back end for it."""
        prefix, slash, rest = model.partition("/")
        name = registry.ALIASES.get(prefix, prefix)
        if slash and rest and name in registry.get_available_backends() and registry.is_built(name):
            kind = registry.get_backend(name)
            if kind.matches_model(rest):
                return name, rest
        return None, model

    def _unknown(self, model: str) -> ModelNotFoundError:
        from api_backends.settings import suggestion

        return ModelNotFoundError(
            f"model: nothing here serves {model!r}{suggestion(model, local_models())}; or set up "
            "a back end that does (its key, or its URL)",
            model=model,
        )

    def backend(self, name: str) -> BaseApiBackend:
        """Return the one instance of a back end, by name or by the URL of a server."""
        with self._lock:
            if name not in self._backends:
                if "://" in name:
                    from .own_server import OwnServer

                    self._backends[name] = OwnServer(name, self._resources)
                else:
                    self._backends[name] = registry.create_api_backend(
                        name, resources=self._resources, metadata=self._metadata
                    )
            return self._backends[name]

    # -- changing -------------------------------------------------------------------------------

    def add(self, model: str, endpoint_type: str, endpoint: Any) -> Endpoint:
        """Add an endpoint for a model: a URL, a back end instance or a callable."""
        checked_name(model)
        if not isinstance(endpoint_type, str) or not endpoint_type.strip():
            raise ConfigurationError(f"endpoint_type: {endpoint_type!r} is not a name")
        endpoint = checked_endpoint(endpoint)
        made: Endpoint
        if isinstance(endpoint, str):
            url = self.canonical_type(endpoint)
            if "://" not in url:
                raise ConfigurationError(f"endpoint: {endpoint!r} is not a URL")
            backend = self.backend(url)
            made = BackendEndpoint(model, endpoint_type, backend, embeds=_embeds(model))
        elif hasattr(endpoint, "stream_chat"):
            made = BackendEndpoint(model, endpoint_type, endpoint, embeds=_embeds(model))
        else:
            made = CallableEndpoint(model, endpoint_type, endpoint)
        with self._lock:
            self._added.setdefault(model, {})[endpoint_type] = made
        return made

    def remove(self, model: str, endpoint_type: str) -> None:
        """Forget an endpoint of a model.

        Raises:
            ConfigurationError: It has none of that type.
        """
        with self._lock:
            added = self._added.get(model, {})
            name = self.canonical_type(endpoint_type, added)
            made = self._endpoints.get(model, {})
            if name not in added and name not in made:
                known = ", ".join([*added, *made]) or "none"
                raise ConfigurationError(
                    f"endpoint_type: {model!r} has no endpoint {endpoint_type!r}; it has {known}"
                )
            for endpoint in (added.pop(name, None), made.pop(name, None)):
                if endpoint is not None:
                    endpoint.close()

    def known(self) -> dict[str, list[Endpoint]]:
        """Return the endpoints that were added or used so far, by model."""
        with self._lock:
            models = list(dict.fromkeys([*self._added, *self._endpoints]))
            return {
                model: list(
                    {**self._endpoints.get(model, {}), **self._added.get(model, {})}.values()
                )
                for model in models
            }

    def close(self) -> None:
        """Close every back end and give up every local model that was opened here."""
        with self._lock:
            backends = list(self._backends.values())
            endpoints = [e for by_type in self._endpoints.values() for e in by_type.values()]
            self._backends.clear()
            self._endpoints.clear()
        for endpoint in endpoints:
            endpoint.close()
        for backend in backends:
            backend.close()


def checked_name(model: Any) -> None:
    """Raise InvalidRequestError unless `model` is a name."""
    if not isinstance(model, str) or not model.strip():
        raise InvalidRequestError(f"model: {model!r} is not a model's name")


def _embeds(model: str) -> bool:
    """Say whether a model is one for embeddings: by the model map, else by its name."""
    task = task_of(model)
    if task is not None:
        return task == "feature-extraction"
    return "embed" in model.lower()
