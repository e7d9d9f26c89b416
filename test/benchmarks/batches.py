"""Sentences a second in calls of a few sentences each, for the encoders that are on this disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from .embeddings import MODEL, PEER, _interleave, _median, _split, load_peer


def known_models(wanted: str) -> list[str]:
    """Return the model named, or for "all" the usual encoder of each type in the model map."""
    if wanted != "all":
        return [wanted]
    import hardware

    entries = hardware.mapped_models().values()
    return list(dict.fromkeys([MODEL, *(entry.default_model for entry in entries)]))


def measure_batches(
    sentences: list[str],
    devices: tuple[str, ...] | list[str],
    *,
    models: str = "all",
    batch_size: int = 8,
    repeats: int = 3,
    peers: bool = False,
) -> list[dict[str, Any]]:
    """Return a row for each model and device: sentences/s in calls of `batch_size` sentences.

    Rows: `model, who, batch_size, sentences_per_s` and, with `peers`, `ratio` to
    sentence-transformers called the same way (for the model that both can have). What can't run
    here has a row `{model, who, skipped}`.
    """
    batches = [sentences[i : i + batch_size] for i in range(0, len(sentences), batch_size)]
    rows: list[dict[str, Any]] = []
    for model in known_models(models):
        with ExitStack() as opened:
            contenders, skipped = _contenders(model, devices, batches, opened)
            rows += skipped
            if peers and model == MODEL and contenders:
                contenders[PEER] = _runner(_peer_call(), batches)
            times = _interleave(contenders, repeats)
        base = _median(times, PEER)
        rows += [
            {
                "model": model,
                "who": name,
                "batch_size": batch_size,
                "sentences_per_s": len(sentences) / _median(times, name),
                "ratio": base / _median(times, name) if base else None,
            }
            for name in times
        ]
    return rows


def _contenders(
    model: str, devices: Iterable[str], batches: list[list[str]], opened: ExitStack
) -> tuple[dict[str, Callable[[], None]], list[dict[str, Any]]]:
    """Return what to run by device, and a row for the model or each device that can't."""
    import hardware
    from api_backends.errors import ApiConnectionError, ApiError, ModelNotFoundError

    contenders: dict[str, Callable[[], None]] = {}
    skipped: list[dict[str, Any]] = []
    for device in devices:
        name, precision = _split(device)
        try:
            local = hardware.load(model, name, precision=precision)
            opened.callback(local.close)
            local.warmup()
        except (ApiConnectionError, ModelNotFoundError) as error:
            return {}, [{"model": model, "skipped": str(error)}]  # so it is on every device
        except ApiError as error:
            skipped.append({"model": model, "who": device, "skipped": str(error)})
            continue
        contenders[device] = _runner(_local_call(local), batches)
    return contenders, skipped


def _local_call(model: Any) -> Callable[[list[str]], Any]:
    return lambda part: model(part, truncate=True)


def _peer_call() -> Callable[[list[str]], Any]:
    peer = load_peer()
    return lambda part: peer.encode(part, show_progress_bar=False)


def _runner(call: Callable[[list[str]], Any], batches: list[list[str]]) -> Callable[[], None]:
    def run() -> None:
        for part in batches:
            call(part)

    return run
