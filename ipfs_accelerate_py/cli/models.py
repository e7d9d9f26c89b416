"""`ipfs-accelerate models`: what runs here, and what back ends offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .usage import add_json, check_backend, check_url

if TYPE_CHECKING:
    import argparse

    from .terminal import Terminal

__all__ = ["add_arguments", "run"]

HERE, ON_THE_HUB = "on this disk", "on the hub"
PATIENCE = 15.0  # seconds for one back end's list


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--backend", metavar="B", help="only what this back end lists")
    where.add_argument("--url", metavar="URL", help="only what this server lists")
    add_json(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """List the models."""
    backend, url = check_backend(arguments.backend), check_url(arguments.url)
    if url is not None:
        from .asking import models_of

        rows = [_row(model, url) for model in models_of(url)]
    elif backend is not None:
        rows = _listed(backend)
    else:
        rows = [*_local(), *_of_ready_backends(terminal)]
    if arguments.json:
        terminal.json({"models": rows})
    else:
        _print(rows, terminal)
    return 0


def _print(rows: list[dict[str, Any]], terminal: Terminal) -> None:
    """Print the models by who runs them, those whose files are here first."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        name = row["where"] if row["task"] is None else f"{row['where']}: {row['task']}"
        groups.setdefault(name, []).append(row)
    if not groups:
        terminal.note("no models are listed")
    for name, group in groups.items():
        terminal.heading(name)
        group.sort(key=lambda row: row["state"] != HERE)
        terminal.table(["model", "state"], [[row["model"], row["state"]] for row in group])


def _local() -> list[dict[str, Any]]:
    from ..local_models import local_models

    return [
        {"model": model, "where": "this machine", "task": task, "state": _state(model)}
        for model, task in sorted(local_models().items())
    ]


def _state(model: str) -> str:
    """Say whether a model's files are on this disk, without asking the network."""
    from api_backends.errors import ApiConnectionError, ApiError, ModelNotFoundError
    from hardware.checkpoints import find_checkpoint

    try:
        find_checkpoint(model, local_files_only=True)
    except (ModelNotFoundError, ApiConnectionError):
        return ON_THE_HUB
    except ApiError as error:
        return str(error)
    return HERE


def _of_ready_backends(terminal: Terminal) -> list[dict[str, Any]]:
    from api_backends.errors import ApiError

    from ..core import Accelerator

    rows: list[dict[str, Any]] = []
    with Accelerator() as accelerator:
        ready = [each for each in accelerator.backends() if each["ready"]]
    for each in ready:
        if "list_models" not in each["features"]:
            continue
        try:
            rows += _listed(each["name"])
        except ApiError as error:  # the others still have something to say
            terminal.note(f"ipfs-accelerate: {each['name']}: {error}")
    return rows


def _listed(name: str) -> list[dict[str, Any]]:
    from api_backends import create_api_backend

    with create_api_backend(name) as backend:
        models = backend.list_models(max_retries=0, timeout=PATIENCE)
    return [_row(model, name) for model in models]


def _row(model: dict[str, Any], where: str) -> dict[str, Any]:
    return {"model": str(model["id"]), "where": where, "task": None, "state": "served"}
