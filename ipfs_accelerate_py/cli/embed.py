"""`ipfs-accelerate embed`: texts to vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .usage import add_json, check_backend, check_device, check_url, read_texts

if TYPE_CHECKING:
    import argparse

    from .terminal import Terminal

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "text", nargs="+", metavar="TEXT", help="a text; - reads one a line from standard input"
    )
    parser.add_argument("--model", metavar="M", help="model (the local default, or the back end's)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--device", metavar="D", help="cpu, cuda, openvino, … (the best there is)")
    where.add_argument("--backend", metavar="B", help="a back end instead of a device")
    where.add_argument("--url", metavar="URL", help="an OpenAI-compatible server of yours")
    add_json(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Embed the texts and print their vectors."""
    device = check_device(arguments.device)
    backend, url = check_backend(arguments.backend), check_url(arguments.url)
    texts = read_texts(arguments.text, "TEXT")
    from ..core import Accelerator

    with Accelerator() as accelerator:
        endpoint_type = device or backend or url
        model = arguments.model or _default_model(backend, url)
        answer = accelerator.process(model, texts, endpoint_type, task="embed")
    if arguments.json:
        terminal.json(
            {
                "model": answer.model or model,
                "device": answer.device or answer.backend,
                "dimensions": int(answer.embeddings.shape[1]),
                "embeddings": _shortest(answer.embeddings),
            }
        )
    else:
        _print(answer, texts, terminal)
    return 0


def _default_model(backend: str | None, url: str | None) -> str:
    if backend is not None:
        from api_backends import get_backend

        from .usage import UsageError

        model = get_backend(backend).default_embedding_model
        if model is None:
            raise UsageError(f"--model: {backend} has no default model for embeddings; name one")
        return model
    if url is not None:
        from .asking import model_of_server

        return model_of_server(url)
    from hardware.models import default_model

    return default_model("feature-extraction")


def _shortest(vectors: Any) -> list[list[float]]:
    """Return float32 vectors with as few digits as give the same float32 again."""
    return [[float(str(number)) for number in vector] for vector in vectors]


def _print(answer: Any, texts: list[str], terminal: Terminal) -> None:
    """Print each vector on a line: full on a pipe, its beginning on a terminal."""
    shown = max(2, (terminal.width - 12) // 8) if terminal.out_is_tty else None
    for vector in answer.embeddings.tolist():
        numbers = " ".join(f"{number:.6g}" for number in vector)
        if shown is not None and len(vector) > shown:
            numbers = " ".join(f"{number:+.4f}" for number in vector[:shown]) + " …"
        terminal.line(numbers)
    if terminal.err_is_tty:
        precision = f" {answer.precision}" if answer.precision else ""
        terminal.note(
            f"{answer.implementation_type} {answer.device or answer.backend}{precision} · "
            f"{answer.model} · {len(texts)} x {answer.embeddings.shape[1]} · "
            f"{answer.latency * 1000:.0f} ms"
        )
