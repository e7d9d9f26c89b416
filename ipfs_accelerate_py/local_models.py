"""Which models this machine can run by itself, without asking the network."""

from __future__ import annotations

import os
from pathlib import Path

from api_backends.errors import ModelNotFoundError

__all__ = ["check_model", "is_local_model", "local_models", "task_of"]


def local_models() -> dict[str, str]:
    """Return the models of the map by name, with the task of each."""
    from hardware import mapped_models

    return {entry.default_model: entry.task for entry in mapped_models().values()}


def is_local_model(model: str) -> bool:
    """Say whether the weights of a model are here, or the map names it."""
    return (
        model in local_models() or _is_bundled(model) or _is_folder(model) or _is_downloaded(model)
    )


def check_model(model: str) -> None:
    """Refuse a name that is neither a folder, nor in the map, nor a hub id.

    Raises:
        ModelNotFoundError: The message names what there is.
    """
    # A hub id may be anything of the form owner/name: loading it finds out.
    if is_local_model(model) or model.count("/") == 1:
        return
    raise ModelNotFoundError(
        f"model: there is no {model!r} here; give a folder, a Hugging Face id (owner/name), or "
        f"one of: {', '.join(local_models())}",
        model=model,
    )


def task_of(model: str) -> str | None:
    """Return the task of a model of the map; None for any other."""
    task = local_models().get(model)
    return "feature-extraction" if task is None and _is_bundled(model) else task


def _is_bundled(model: str) -> bool:
    from hardware.models import bundled_models

    return any(model in bundled.names for bundled in bundled_models())


def _is_folder(model: str) -> bool:
    return Path(model).expanduser().joinpath("config.json").is_file()


def _is_downloaded(model: str) -> bool:
    """Look into Hugging Face's cache: hub/models--owner--name."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    return cache.joinpath("models--" + model.replace("/", "--"), "snapshots").is_dir()
