"""Who is asked for a chat where the command line doesn't say it all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api_backends.errors import ConfigurationError, ModelNotFoundError

if TYPE_CHECKING:
    from ..core import Accelerator

__all__ = ["chat_target", "model_of_server", "models_of"]

NOBODY = (
    "no back end is ready to chat: set a key (for instance OPENAI_API_KEY), or give the URL of an "
    "OpenAI-compatible server with --url; `ipfs-accelerate backends` says what each needs"
)


def chat_target(
    accelerator: Accelerator, model: str | None, backend: str | None, url: str | None
) -> tuple[str, str | None]:
    """Return the model and the endpoint type to ask.

    Raises:
        ConfigurationError: Nothing is ready to chat, or the back end has no default model.
        ApiError: The server could not be asked for its models.
    """
    if url is not None:
        return model or model_of_server(url), url
    if backend is not None:
        return model or _default_model(accelerator, backend), backend
    if model is not None:
        return model, None
    for row in accelerator.backends():
        if row["ready"] and "chat" in row["features"]:
            return _default_model(accelerator, row["name"]), row["name"]
    raise ConfigurationError(NOBODY)


def _default_model(accelerator: Accelerator, name: str) -> str:
    from api_backends import create_api_backend

    with create_api_backend(name, metadata=accelerator.metadata) as backend:
        model = backend.get_default_model()
        return model or _only_model(backend.list_models(max_retries=0, timeout=30.0), name)


def model_of_server(url: str) -> str:
    """Return the one model that a server serves.

    Raises:
        ModelNotFoundError: It serves several, or none; the message names them.
    """
    return _only_model(models_of(url), url)


def models_of(url: str) -> list[dict[str, Any]]:
    """Return the models of the OpenAI-compatible server at a URL."""
    from ..own_server import OwnServer

    with OwnServer(url) as server:
        models: list[dict[str, Any]] = server.list_models(max_retries=0, timeout=30.0)
    return models


def _only_model(models: list[dict[str, Any]], where: str) -> str:
    names = [str(model["id"]) for model in models]
    if len(names) == 1:
        return names[0]
    if not names:
        raise ModelNotFoundError(f"model: {where} lists no models; name one with --model")
    listed = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    raise ModelNotFoundError(
        f"model: {where} serves several models; choose one with --model: {listed}"
    )
