"""The endpoints (URL and key) of a back end, and the choice of one for a request."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigurationError
from .circuit_breaker import CircuitBreaker
from .credentials import Secret
from .stats import Stats

__all__ = ["STRATEGIES", "Choice", "Endpoint", "EndpointPool"]

STRATEGIES = ("round-robin", "least-loaded", "priority", "random")


@dataclass(slots=True, eq=False)
class Endpoint:
    """One place to send requests to: a URL with the key for it, its limits and its state.

    The engine's lock guards everything that changes.
    """

    id: str
    url: str
    api_key: Secret | None
    breaker: CircuitBreaker
    max_concurrent_requests: int | None = None
    priority: int = 1
    weight: float = 1.0
    in_rotation: bool = True
    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    active: int = 0
    rests: int = 0
    resting_until: float = 0.0
    turn: float = 0.0
    stats: Stats = field(default_factory=Stats, repr=False)
    headers: dict[str, str] | None = field(default=None, repr=False)
    """What the back end derived from the key once."""

    def is_full(self) -> bool:
        """Say whether as many requests run here as this endpoint takes."""
        limit = self.max_concurrent_requests
        return limit is not None and self.active >= limit

    def describe(self) -> dict[str, Any]:
        """Return what may be shown of it: no key."""
        return {
            "id": self.id,
            "endpoint_url": self.url,
            "has_api_key": self.api_key is not None,
            "max_concurrent_requests": self.max_concurrent_requests,
            "priority": self.priority,
            "weight": self.weight,
            "active_requests": self.active,
            "circuit_state": self.breaker.state,
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """Why no endpoint can take a request now: what has to happen first.

    `busy`: one will have a free place. `rested_at`: when the first one has rested (None if none
    rests). `retry_at`: when the first open circuit lets a probe through.
    """

    busy: bool = False
    rested_at: float | None = None
    retry_at: float | None = None


class EndpointPool:
    """All endpoints of a back end, in order, and the strategy to choose by."""

    def __init__(self, strategy: str, random: Callable[[], float]) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self.strategy = strategy
        self._random = random

    def add(self, endpoint: Endpoint) -> None:
        """Add an endpoint.

        Raises:
            ConfigurationError: Its id is taken.
        """
        if endpoint.id in self.endpoints:
            raise ConfigurationError(
                f"endpoint_id: there is an endpoint {endpoint.id!r} already; remove it first, "
                "or choose another id"
            )
        self.endpoints[endpoint.id] = endpoint

    def get(self, endpoint_id: str) -> Endpoint:
        """Return an endpoint by id.

        Raises:
            ConfigurationError: There is none of that id.
        """
        try:
            return self.endpoints[endpoint_id]
        except (KeyError, TypeError):
            known = ", ".join(self.endpoints) or "none yet"
            raise ConfigurationError(
                f"endpoint_id: no endpoint {endpoint_id!r}; there are: {known}"
            ) from None

    def choose(
        self,
        now: float,
        pinned: Endpoint | None,
        avoid: Collection[Endpoint],
        ignores_rest: bool = False,
    ) -> Endpoint | Choice:
        """Choose an endpoint that can take a request now, or say what is waited for.

        Args:
            now: Monotonic seconds.
            pinned: The only endpoint that will do, if the caller named one.
            avoid: Endpoints where this call failed already: taken only if there is no other.
            ignores_rest: Whether the request brings its own key, so that another's rest is no
                matter.
        """
        endpoints = (pinned,) if pinned is not None else self.endpoints.values()
        free = [
            endpoint
            for endpoint in endpoints
            if (endpoint.in_rotation or endpoint is pinned)
            and (endpoint.resting_until <= now or ignores_rest)
            and endpoint.breaker.allows(now)
            and not endpoint.is_full()
        ]
        if len(free) > 1 and avoid:
            free = [endpoint for endpoint in free if endpoint not in avoid] or free
        if not free:
            return self._obstacle(now, pinned, ignores_rest)
        return free[0] if len(free) == 1 else self._pick(free)

    def has_alternative(self, now: float, avoid: Collection[Endpoint]) -> bool:
        """Say whether an endpoint outside `avoid` could take a request now."""
        return any(not endpoint.is_full() for endpoint in self._healthy(now, avoid))

    def has_busy_alternative(self, now: float, avoid: Collection[Endpoint]) -> bool:
        """Say whether an endpoint outside `avoid` is worth waiting for a place at."""
        return any(True for _ in self._healthy(now, avoid))

    def can_send(self, now: float, pinned: Endpoint | None) -> bool:
        """Say whether any circuit lets a request through."""
        endpoints = (pinned,) if pinned is not None else self.endpoints.values()
        return any(
            (endpoint.in_rotation or endpoint is pinned) and endpoint.breaker.allows(now)
            for endpoint in endpoints
        )

    def _healthy(self, now: float, avoid: Collection[Endpoint]) -> Iterator[Endpoint]:
        for endpoint in self.endpoints.values():
            if (
                endpoint.in_rotation
                and endpoint not in avoid
                and endpoint.resting_until <= now
                and endpoint.breaker.allows(now)
            ):
                yield endpoint

    def _obstacle(self, now: float, pinned: Endpoint | None, ignores_rest: bool) -> Choice:
        busy, rested, probed = False, [], []
        for endpoint in (pinned,) if pinned is not None else self.endpoints.values():
            if not endpoint.in_rotation and endpoint is not pinned:
                continue
            if not endpoint.breaker.allows(now):
                probed.append(endpoint.breaker.retry_at)
            elif endpoint.resting_until > now and not ignores_rest:
                rested.append(endpoint.resting_until)
            else:
                busy = True
        return Choice(busy, min(rested, default=None), min(probed, default=None))

    def _pick(self, free: list[Endpoint]) -> Endpoint:
        if self.strategy == "random":
            return self._pick_random(free)
        if self.strategy == "least-loaded":
            least = min(endpoint.active / endpoint.weight for endpoint in free)
            free = [e for e in free if e.active / e.weight == least]
        elif self.strategy == "priority":
            first = min(endpoint.priority for endpoint in free)
            free = [endpoint for endpoint in free if endpoint.priority == first]
        return self._pick_in_turn(free)

    def _pick_random(self, free: list[Endpoint]) -> Endpoint:
        mark = self._random() * sum(endpoint.weight for endpoint in free)
        for endpoint in free:
            mark -= endpoint.weight
            if mark < 0:
                return endpoint
        return free[-1]

    @staticmethod
    def _pick_in_turn(free: list[Endpoint]) -> Endpoint:
        # Smooth weighted round robin: each gains its weight, the richest pays for all.
        for endpoint in free:
            endpoint.turn += endpoint.weight
        chosen = max(free, key=lambda endpoint: endpoint.turn)
        chosen.turn -= sum(endpoint.weight for endpoint in free)
        return chosen
