"""What a caller may set on a back end, checked before anything else happens."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .engine.call import LEVELS
from .engine.circuit_breaker import CircuitPolicy
from .engine.credentials import Secret, find_setting
from .engine.endpoints import STRATEGIES
from .engine.retry import RetryPolicy
from .errors import ConfigurationError
from .prices import Price, read_prices

__all__ = ["Identity", "Settings", "base_url", "check_number", "suggestion"]

COMMON_KEYS = (
    "api_base",
    "api_key",
    "api_keys",
    "backoff_factor",
    "circuit_breaker",
    "endpoint_selection_strategy",
    "endpoints",
    "initial_retry_delay",
    "max_concurrent_requests",
    "max_retries",
    "max_retry_delay",
    "prices",
    "queue_size",
    "retry_budget",
    "timeout",
)

ENDPOINT_KEYS = (
    "api_key",
    "circuit_breaker",
    "endpoint_id",
    "endpoint_url",
    "id",
    "in_rotation",
    "max_concurrent_requests",
    "max_retries",
    "priority",
    "timeout",
    "weight",
)

_OWN_SUFFIXES = ("api_key", "api_token", "api_url", "base_url", "model")
# Keys of other back ends that don't begin with their registered name.
_FOREIGN_KEYS = frozenset(
    {"anthropic_api_key", "claude_betas", "google_api_key", "s3cfg", "s3_endpoint_url"}
)
_FOREIGN_PREFIXES = ("sample", "hf")

DEFAULT_TIMEOUT = 300.0


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one back end's settings from another's; see the registry's table.

    `names` are the prefixes of its own settings (`groq` in `groq_api_url`), `version_path` what a
    base URL ends in.
    """

    names: tuple[str, ...]
    key_names: tuple[str, ...]
    key_env: tuple[str, ...]
    default_url: str
    version_path: str
    routes: tuple[str, ...] = ()
    extra_keys: tuple[str, ...] = ()

    def own_keys(self) -> set[str]:
        """Return the metadata keys that this back end reads."""
        own = {f"{name}_{suffix}" for name in self.names for suffix in _OWN_SUFFIXES}
        return own | set(self.key_names) | set(self.extra_keys) | set(COMMON_KEYS)


@dataclass(slots=True)
class Settings:
    """The settings of one back end instance, each of the right kind."""

    base_url: str
    is_url_given: bool
    api_key: Secret | None
    model: str | None
    timeout: float = DEFAULT_TIMEOUT
    max_concurrent_requests: int = 5
    queue_size: int = 100
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    retry_budget: float = 20.0
    circuit: CircuitPolicy = field(default_factory=CircuitPolicy)
    strategy: str = "round-robin"
    api_keys: tuple[Secret, ...] = ()
    endpoints: tuple[dict[str, Any], ...] = ()
    prices: dict[str, Price] = field(default_factory=dict)

    @classmethod
    def read(
        cls, identity: Identity, metadata: Mapping[str, Any] | None, backends: Iterable[str]
    ) -> Settings:
        """Read and check the caller's metadata, and the environment where that is silent.

        Args:
            identity: Whose settings.
            metadata: The caller's settings.
            backends: Names of all back ends: their keys may stand in the same metadata.

        Raises:
            ConfigurationError: A key is misspelt or a value of the wrong kind.
        """
        values = known_keys(identity, metadata, backends)
        urls = [f"{name}_{suffix}" for name in identity.names for suffix in _OWN_SUFFIXES[2:4]]
        url = find_setting(
            (*urls, "api_base"), [f"{name.upper()}_API_URL" for name in identity.names], values
        )
        key = find_setting((*identity.key_names, "api_key"), identity.key_env, values)
        model = next((values[k] for k in values if k.endswith("_model")), None)
        model = model or _environment(f"{name.upper()}_MODEL" for name in identity.names)
        if model is not None and not isinstance(model, str):
            raise ConfigurationError(f"{identity.names[0]}_model: {model!r} is not a model's name")
        number = _Numbers(values)
        return cls(
            base_url=base_url(url or identity.default_url, identity),
            is_url_given=bool(url),
            api_key=secret(key, identity.key_names[0] if identity.key_names else "api_key"),
            model=model,
            timeout=number("timeout", DEFAULT_TIMEOUT, least=0.001),
            max_concurrent_requests=int(number("max_concurrent_requests", 5, least=1, whole=True)),
            queue_size=int(number("queue_size", 100, least=1, whole=True)),
            retry=RetryPolicy(
                int(number("max_retries", 5, whole=True)),
                number("initial_retry_delay", 1.0),
                number("backoff_factor", 2.0, least=1),
                number("max_retry_delay", 16.0),
            ),
            retry_budget=number("retry_budget", 20.0),
            circuit=circuit_policy(values.get("circuit_breaker")),
            strategy=strategy(values.get("endpoint_selection_strategy", "round-robin")),
            api_keys=_keys(values.get("api_keys")),
            endpoints=_endpoints(values.get("endpoints"), identity.extra_keys),
            prices=read_prices(values.get("prices")),
        )


def known_keys(
    identity: Identity, metadata: Mapping[str, Any] | None, backends: Iterable[str]
) -> dict[str, Any]:
    """Return the settings meant for this back end, in snake_case."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise ConfigurationError(f"metadata: {type(metadata).__name__} given; it is a dictionary")
    own = identity.own_keys()
    prefixes = (*backends, *_FOREIGN_PREFIXES)
    foreign = {f"{name}_{suffix}" for name in prefixes for suffix in _OWN_SUFFIXES}
    values: dict[str, Any] = {}
    for name, value in metadata.items():
        key = snake_case(name) if isinstance(name, str) and name not in own else name
        if key in own:
            values[key] = value
        elif key not in foreign and key not in _FOREIGN_KEYS:
            raise ConfigurationError(
                f"metadata: {identity.names[0]} has no setting {name!r}{suggestion(str(key), own)}"
            )
    return values


def snake_case(name: str) -> str:
    """Return a camelCase name in snake_case: `opeaApiUrl` becomes `opea_api_url`."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest known name, or the known names."""
    import difflib

    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known)}"


def secret(value: Any, name: str) -> Secret | None:
    """Return a key as a Secret; None and "" as None."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}: {type(value).__name__} given; a key is a string")
    stripped = value.strip()
    if not stripped or not stripped.isascii() or re.search(r"\s|[\x00-\x1f]", stripped):
        raise ConfigurationError(
            f"{name}: holds white space or characters that no key has; copy the key again"
        )
    return Secret(stripped)


def base_url(url: Any, identity: Identity) -> str:
    """Return a base URL with its version path and without a trailing slash.

    A URL that names one of the API's routes (`…/chat/completions`) is taken as it stands, less
    the route; one that ends in a version keeps it.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"api_base: {type(url).__name__} given; a URL is a string")
    try:
        parts = urlsplit(url.strip())
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        port_is_valid = False
    if not port_is_valid or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"api_base: {url.rpartition('@')[2].partition('?')[0]!r} is not an address; it looks "
            "like 'http://localhost:8000' or 'https://host/v1'"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(
            "api_base: holds a user, a query or a fragment; give the plain address, and the key "
            "by itself"
        )
    root, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    for route in identity.routes:
        if path.endswith(route):
            return root + path.removesuffix(route)
    if re.search(r"/v\d+(?:(?:alpha|beta)\d*)?$", path):
        return root + path
    folder, _, version = identity.version_path.rpartition("/")
    if folder and path.endswith(folder):
        return f"{root}{path}/{version}"
    return root + path + identity.version_path


def check_number(
    name: str, value: Any, *, least: float = 0.0, most: float = math.inf, whole: bool = False
) -> float:
    """Return `value` if it is a number in range.

    Raises:
        ConfigurationError: It is not; the message names the argument.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    is_number = is_number and abs(value) < 1e300  # past it, isfinite() itself overflows
    if is_number and whole and value != int(value if math.isfinite(value) else 0):
        is_number = False
    if not is_number or not (math.isfinite(value) and least <= value <= most):
        kind = "a whole number" if whole else "a number"
        raise ConfigurationError(f"{name}: {value!r} given; it is {kind} of at least {least:g}")
    return float(value)


class _Numbers:
    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __call__(
        self, name: str, default: float, *, least: float = 0.0, whole: bool = False
    ) -> float:
        value = self._values.get(name)
        return default if value is None else check_number(name, value, least=least, whole=whole)


def circuit_policy(value: Any) -> CircuitPolicy:
    """Read {failure_threshold, reset_timeout}; None for the usual."""
    if value is None or isinstance(value, CircuitPolicy):
        return value or CircuitPolicy()
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"circuit_breaker: {type(value).__name__} given; it is a dictionary like "
            '{"failure_threshold": 5, "reset_timeout": 30}'
        )
    known = ("failure_threshold", "reset_timeout")
    for key in value:
        if key not in known:
            raise ConfigurationError(
                f"circuit_breaker: no setting {key!r}{suggestion(str(key), known)}"
            )
    number = _Numbers(value)
    return CircuitPolicy(
        int(number("failure_threshold", 5, least=1, whole=True)), number("reset_timeout", 30.0)
    )


def strategy(value: Any) -> str:
    """Check the name of an endpoint selection strategy."""
    name = str(value).replace("_", "-")
    if name not in STRATEGIES:
        raise ConfigurationError(
            f"endpoint_selection_strategy: no {value!r}{suggestion(name, STRATEGIES)}"
        )
    return name


def rank(value: Any) -> int:
    """Read an endpoint's priority: lower is asked first; HIGH, NORMAL and LOW are 0, 1, 2."""
    if isinstance(value, str) and value.upper() in LEVELS:
        return LEVELS[value.upper()]
    return int(check_number("priority", value, least=-math.inf, whole=True))


def _keys(value: Any) -> tuple[Secret, ...]:
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigurationError(f"api_keys: {type(value).__name__} given; it is a list of keys")
    keys = [secret(key, f"api_keys[{index}]") for index, key in enumerate(value)]
    if None in keys or not keys:
        raise ConfigurationError("api_keys: an empty key; every entry is a key")
    return tuple(dict.fromkeys(key for key in keys if key is not None))


def _endpoints(value: Any, extra_keys: Iterable[str]) -> tuple[dict[str, Any], ...]:
    if value is None:
        return ()
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        raise ConfigurationError(
            f"endpoints: {type(value).__name__} given; it is a list of dictionaries like "
            '{"endpoint_url": "...", "api_key": "..."}'
        )
    checked = []
    for index, entry in enumerate(value):
        if isinstance(entry, str):
            checked.append({"endpoint_url": entry})
        elif isinstance(entry, Mapping):
            checked.append(endpoint_settings(entry, f"endpoints[{index}]", extra_keys))
        else:
            raise ConfigurationError(
                f"endpoints[{index}]: {type(entry).__name__} given; it is a dictionary or a URL"
            )
    return tuple(checked)


def endpoint_settings(
    entry: Mapping[str, Any], where: str, extra_keys: Iterable[str] = ()
) -> dict[str, Any]:
    """Check the settings of one endpoint; return them in snake_case."""
    known = {*ENDPOINT_KEYS, *extra_keys}
    checked: dict[str, Any] = {}
    for name, value in entry.items():
        key = snake_case(name)
        if key not in known:
            raise ConfigurationError(f"{where}: no setting {name!r}{suggestion(key, known)}")
        checked[key] = value
    for key, least, whole in (
        ("max_concurrent_requests", 1, True),
        ("max_retries", 0, True),
        ("timeout", 0.001, False),
        ("weight", 0.001, False),
    ):
        if checked.get(key) is not None:
            check_number(f"{where}.{key}", checked[key], least=least, whole=whole)
    return checked


def _environment(names: Iterable[str]) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)
