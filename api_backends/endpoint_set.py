"""What every back end instance has: endpoints, an engine to send with, statistics, an end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from .engine.circuit_breaker import CircuitBreaker
from .engine.endpoints import Endpoint, EndpointPool
from .engine.engine import Engine
from .engine.retry import RetryBudget
from .engine.transport import HttpTransport
from .errors import ConfigurationError, MissingCredentialsError
from .limits import Limits
from .prices import PriceList
from .rate_limits import LatestHeaders, RateLimit, read_rate_limits
from .settings import (
    Identity,
    Settings,
    base_url,
    circuit_policy,
    endpoint_settings,
    rank,
    secret,
)
from .types import Usage

if TYPE_CHECKING:
    import requests

    from .engine.clock import Clock
    from .engine.credentials import Secret

__all__ = ["EndpointSet"]


class EndpointSet(Limits):
    """Endpoints with one engine; the legacy names of its limits; `get_stats()` and `close()`."""

    name: ClassVar[str]
    needs_key: ClassVar[bool]
    price_list: ClassVar[str] = ""
    """The section of prices.json with its prices, if it is not called as it is."""

    def __init__(
        self, settings: Settings, clock: Clock, session: requests.Session | None = None
    ) -> None:
        if session is not None and not hasattr(session, "get_adapter"):
            raise ConfigurationError(
                f"resources['session']: {type(session).__name__} given; it is a requests.Session"
            )
        self._settings = settings
        self.prices = PriceList(self.price_list or self.name, settings.prices)
        self.latest_headers = LatestHeaders()
        self.clock = clock
        self._pool = EndpointPool(settings.strategy, clock.random)
        self._engine = Engine(
            self.name,
            self._pool,
            limit=settings.max_concurrent_requests,
            queue_size=settings.queue_size,
            retry=settings.retry,
            budget=RetryBudget(settings.retry_budget, now=clock.now()),
            clock=clock,
        )
        self.transport = HttpTransport(clock, session)
        self._add_configured_endpoints()

    @classmethod
    def identity(cls) -> Identity:
        """Return what names this back end's settings."""
        raise NotImplementedError

    # -- endpoints ------------------------------------------------------------------------------

    def _add_configured_endpoints(self) -> None:
        settings = self._settings
        if settings.endpoints:
            for entry in settings.endpoints:
                self.create_endpoint(**entry)
            return
        keys = list(dict.fromkeys(k for k in (settings.api_key, *settings.api_keys) if k))
        if len(keys) < 2:
            self._add("default", settings.base_url, keys[0] if keys else None)
        for number, key in enumerate(keys if len(keys) > 1 else (), start=1):
            self._add(f"key-{number}", settings.base_url, key)

    def _add(self, name: str, url: str, key: Secret | None, **limits: Any) -> Endpoint:
        circuit = limits.get("circuit_breaker")
        policy = self._settings.circuit if circuit is None else circuit_policy(circuit)
        endpoint = Endpoint(name, url, key, CircuitBreaker(policy))
        self._apply(endpoint, limits)
        if self._lacks_key(endpoint):
            endpoint.in_rotation = False
        with self._engine.admission.lock:
            self._pool.add(endpoint)
        return endpoint

    def _lacks_key(self, endpoint: Endpoint) -> bool:
        # A server of the caller's own may do without; the provider's won't.
        identity = self.identity()
        return (
            self.needs_key
            and endpoint.api_key is None
            and endpoint.url == base_url(identity.default_url, identity)
        )

    @staticmethod
    def _apply(endpoint: Endpoint, limits: Mapping[str, Any]) -> None:
        if "max_concurrent_requests" in limits:
            endpoint.max_concurrent_requests = limits["max_concurrent_requests"]
        if limits.get("priority") is not None:
            endpoint.priority = rank(limits["priority"])
        if limits.get("weight") is not None:
            endpoint.weight = float(limits["weight"])
        if "in_rotation" in limits:
            endpoint.in_rotation = bool(limits["in_rotation"])
        if limits.get("circuit_breaker") is not None:
            endpoint.breaker.policy = circuit_policy(limits["circuit_breaker"])
        known = ("timeout", "max_retries")
        endpoint.settings.update({k: limits[k] for k in known if limits.get(k) is not None})

    def create_endpoint(
        self,
        endpoint_id: str | None = None,
        api_key: str | None = None,
        endpoint_url: str | None = None,
        **limits: Any,
    ) -> str:
        """Add an endpoint: calls are spread over all of them, or name one by `endpoint_id`.

        Args:
            endpoint_id: Its id; one is made up if None.
            api_key: Its key; this back end's own if None.
            endpoint_url: Its base URL; this back end's own if None.
            limits: `max_concurrent_requests`, `priority` (lower first), `weight`, `timeout`
                (seconds), `max_retries`, `circuit_breaker`, `in_rotation` (False: only for calls
                that name it).

        Returns:
            The id.

        Raises:
            ConfigurationError: A limit is unknown or of the wrong kind, or the id is taken.
        """
        identity = self.identity()
        limits = endpoint_settings(limits, "create_endpoint", identity.extra_keys)
        endpoint_id = endpoint_id or limits.pop("id", None) or self._free_id()
        if not isinstance(endpoint_id, str):
            raise ConfigurationError(f"endpoint_id: {endpoint_id!r} is not a string")
        url = self._settings.base_url
        if endpoint_url is not None:
            url = base_url(endpoint_url, identity)
        key = secret(api_key, "api_key") or self._settings.api_key
        self._add(endpoint_id, url, key, **limits)
        self._engine.admission.dispatch()
        return endpoint_id

    def _free_id(self) -> str:
        number = len(self._pool.endpoints) + 1
        while f"endpoint-{number}" in self._pool.endpoints:
            number += 1
        return f"endpoint-{number}"

    def private_endpoint(self, endpoint_url: str, api_key: str | None = None) -> str:
        """Return the id of an endpoint for calls that name it: an existing one, or a new one."""
        url, key = base_url(endpoint_url, self.identity()), secret(api_key, "api_key")
        with self._engine.admission.lock:
            for endpoint in self._pool.endpoints.values():
                if endpoint.url == url and endpoint.api_key == (key or self._settings.api_key):
                    return endpoint.id
            return self.create_endpoint(None, key, endpoint_url, in_rotation=False)

    def get_endpoint(self, endpoint_id: str) -> dict[str, Any]:
        """Return what may be shown of an endpoint: id, URL, limits, state; no key."""
        with self._engine.admission.lock:
            return self._pool.get(endpoint_id).describe()

    def update_endpoint(self, endpoint_id: str, **changes: Any) -> dict[str, Any]:
        """Change an endpoint's `api_key`, `endpoint_url` or limits; return it as changed."""
        changes = endpoint_settings(changes, "update_endpoint", self.identity().extra_keys)
        with self._engine.admission.lock:
            endpoint = self._pool.get(endpoint_id)
            if changes.get("endpoint_url") is not None:
                endpoint.url = base_url(changes["endpoint_url"], self.identity())
                endpoint.breaker.close()
            if "api_key" in changes:
                endpoint.api_key = secret(changes["api_key"], "api_key")
                endpoint.rests, endpoint.resting_until = 0, 0.0
            endpoint.headers = None
            self._apply(endpoint, changes)
            if "in_rotation" not in changes and endpoint.api_key is not None:
                endpoint.in_rotation = True
        self._engine.admission.dispatch()
        return self.get_endpoint(endpoint_id)

    def remove_endpoint(self, endpoint_id: str) -> None:
        """Remove an endpoint; calls on their way there come to their end."""
        with self._engine.admission.lock:
            self._pool.get(endpoint_id)
            del self._pool.endpoints[endpoint_id]
            self.latest_headers.forget(endpoint_id)
        self._engine.admission.dispatch()

    def list_endpoints(self) -> list[str]:
        """Return the ids of all endpoints, in order."""
        return list(self._pool.endpoints)

    def all_endpoints(self) -> list[Endpoint]:
        """Return the endpoints themselves, for the back end's own use."""
        return list(self._pool.endpoints.values())

    def _pinned(self, endpoint_id: str | None, has_own_key: bool) -> Endpoint | None:
        """Return the endpoint that a call must go to, None for any.

        Raises:
            MissingCredentialsError: There is no key for any endpoint.
            ConfigurationError: There is no such endpoint.
        """
        endpoints = self._pool.endpoints
        if endpoint_id is not None:
            endpoint = self._pool.get(endpoint_id)
            if has_own_key or not self._lacks_key(endpoint):
                return endpoint
        else:
            for endpoint in endpoints.values():
                if endpoint.in_rotation:
                    return None
            if has_own_key and endpoints:
                return next(iter(endpoints.values()))
            if not any(self._lacks_key(endpoint) for endpoint in endpoints.values()):
                return None
        identity = self.identity()
        raise MissingCredentialsError(
            f"{self.name}: no key; pass metadata={{{identity.key_names[0]!r}: ...}}, set "
            f"{identity.key_env[0]} in the environment or in .env, or put it into "
            "~/.ipfs_api_credentials",
            backend=self.name,
        )

    def get_rate_limits(self, endpoint_id: str | None = None) -> dict[str, RateLimit]:
        """Return what the provider's last answer said of its rate limits; {} if nothing.

        Args:
            endpoint_id: Whose; those of the endpoint that answered last if None.

        Returns:
            A `RateLimit` for each of what is limited ("requests", "tokens", …).
        """
        if endpoint_id is not None:
            self._pool.get(endpoint_id)
        return read_rate_limits(self.latest_headers.of(endpoint_id), self.clock.wall())

    def nearest_model(self, model: str) -> str:
        """Return " Did you mean …?" where a known model's name comes near, "" where none does."""
        from .context_windows import nearest_models

        near = nearest_models(model, (self.price_list or self.name,))
        return f" Did you mean {near[0]!r}?" if near and near[0] != model else ""

    def estimate_cost(
        self,
        model: str,
        prompt_tokens: int,
        completion_tokens: int = 0,
        cached_tokens: int = 0,
    ) -> float | None:
        """Return what an answer costs by list price, in USD; None where no price is known.

        Args:
            model: The model's name.
            prompt_tokens: Tokens read, those from a cache included.
            completion_tokens: Tokens written.
            cached_tokens: How many of those read came from the provider's cache.
        """
        price = self.prices.find(model)
        total = prompt_tokens + completion_tokens
        usage = Usage(prompt_tokens, completion_tokens, total, cached_tokens)
        return None if price is None else price.cost(usage)

    # -- statistics and end -----------------------------------------------------------------------

    def get_stats(self, endpoint_id: str | None = None) -> dict[str, Any]:
        """Return counts, tokens, cost (USD, None if no price is known), latencies and queue waits.

        Args:
            endpoint_id: One endpoint's; all together if None.
        """
        admission = self._engine.admission
        admission.settle()
        with admission.lock:
            if endpoint_id is not None:
                endpoint = self._pool.get(endpoint_id)
                described = {**endpoint.describe(), **endpoint.stats.snapshot()}
                return {"backend": self.name, **described}
            return {
                "backend": self.name,
                **self._engine.stats.snapshot(),
                "active_requests": admission.active,
                "queued_requests": admission.waiting.qsize(),
                "waiting_retries": admission.line.parked_count,
                "circuit_state": self.circuit_state,
                "endpoints": {e.id: e.describe() for e in self.all_endpoints()},
            }

    def reset_stats(self, endpoint_id: str | None = None) -> None:
        """Start counting afresh: one endpoint's figures, or all."""
        self._engine.reset_stats(None if endpoint_id is None else self._pool.get(endpoint_id))

    def close(self) -> None:
        """Refuse new calls; end every waiting one with BackendClosedError; free connections.

        Requests that are on the wire come to their own end.
        """
        self._engine.close()
        self.transport.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} at {self._settings.base_url}>"
