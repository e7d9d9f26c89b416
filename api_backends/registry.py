"""Which back ends there are, by name; importing this imports none of them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .base import BaseApiBackend

__all__ = [
    "ROWS",
    "create_api_backend",
    "find_compatible_backend",
    "get_available_backends",
    "get_backend",
    "is_built",
    "suggest_models",
]


class Row(NamedTuple):
    """A back end: its name, its class and the module that holds it."""

    name: str
    class_name: str
    module: str


ROWS = (
    Row("openai", "OpenAI", "openai_api"),
    Row("openai_mini", "OpenAIMini", "openai_mini"),
    Row("claude", "Claude", "claude"),
    Row("gemini", "Gemini", "gemini"),
    Row("groq", "Groq", "groq"),
    Row("llvm", "LLVM", "llvm"),
    Row("vllm", "VLLM", "vllm"),
    Row("vllm_unified", "VLLMUnified", "vllm_unified"),
    Row("ovms", "OVMS", "ovms"),
    Row("ovms_unified", "OVMSUnified", "ovms_unified"),
    Row("ollama", "Ollama", "ollama"),
    Row("ollama_clean", "OllamaClean", "ollama_clean"),
    Row("hf_tgi", "HFTGI", "hf_tgi"),
    Row("hf_tgi_unified", "HFTGIUnified", "hf_tgi_unified"),
    Row("hf_tei", "HFTEI", "hf_tei"),
    Row("hf_tei_unified", "HFTEIUnified", "hf_tei_unified"),
    Row("opea", "OPEA", "opea"),
    Row("s3_kit", "S3Kit", "s3_kit"),
    Row("sample_backend", "SampleBackend", "sample_backend"),
)

ALIASES = {"openai_api": "openai"}

_by_name = {row.name: row for row in ROWS}


def get_available_backends() -> list[str]:
    """Return the names of all back ends, in registry order."""
    return [row.name for row in ROWS]


def is_built(name: str) -> bool:
    """Say whether this version holds the back end, without importing it."""
    return find_spec(f"{__package__}.{_by_name[name].module}") is not None


def get_backend(name: str) -> type[BaseApiBackend]:
    """Import one back end and return its class.

    Raises:
        ValueError: There is none of that name; the message has the nearest one.
        ConfigurationError: (A ValueError.) This version does not hold it yet.
    """
    row = _by_name.get(ALIASES.get(name, name)) if isinstance(name, str) else None
    if row is None:
        from .settings import suggestion

        raise ValueError(f"no back end {name!r}{suggestion(str(name), _by_name)}")
    if not is_built(row.name):
        from .errors import ConfigurationError

        built = ", ".join(other.name for other in ROWS if is_built(other.name))
        raise ConfigurationError(f"back end {name!r} is not in this version yet; there are {built}")
    module = import_module(f".{row.module}", __package__)
    return cast("type[BaseApiBackend]", getattr(module, row.class_name))


def create_api_backend(
    name: str, resources: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None
) -> BaseApiBackend:
    """Make a back end by name; see `get_backend` and the back end's own class."""
    return get_backend(name)(resources=resources, metadata=metadata)


def suggest_models(model: str) -> list[str]:
    """Return up to three known models whose names come nearest to `model`: "did you mean"."""
    from .context_windows import nearest_models

    return nearest_models(model, tuple(row.name for row in ROWS))


def find_compatible_backend(
    model: str,
    resources: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> BaseApiBackend | None:
    """Return a back end that serves `model`, or None.

    Where several do, one whose key (or own URL) is configured comes first, then registry order.
    One that takes any model name counts only when it is configured. Nothing is connected to.
    """
    if not isinstance(model, str) or not model.strip():
        from .errors import InvalidRequestError

        raise InvalidRequestError(f"model: {model!r} is not a model's name")
    first: type[BaseApiBackend] | None = None
    for row in ROWS:
        if not is_built(row.name):
            continue
        kind = get_backend(row.name)
        if not kind.capabilities.chat and not kind.capabilities.embeddings:
            continue
        configured = kind.is_configured(metadata)
        matches = configured if kind.takes_any_model else kind.matches_model(model)
        if matches and configured:
            return kind(resources=resources, metadata=metadata)
        if matches and first is None:
            first = kind
    return first(resources=resources, metadata=metadata) if first is not None else None
