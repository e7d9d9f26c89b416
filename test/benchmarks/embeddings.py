"""Embeddings a second, against sentence-transformers on the same cores with the same sentences.

    python test/benchmarks/embeddings.py [--sentences 2000] [--repeats 3] [--devices cpu:bf16 ...]

Runs of ours and of sentence-transformers take turns in one process, and medians are compared, so
that a machine that is busy with something else slows both. The sentences are real English of mixed
length: the documentation that comes with Python, the same on every run of one Python version.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import statistics
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DEVICES = ("cpu:fp32", "cpu:bf16", "openvino")
PEER = "sentence-transformers"
_PEER_BATCH = 32  # its own default


def real_sentences(count: int) -> list[str]:
    """Return `count` different sentences, evenly from all of Python's reference manual."""
    from pydoc_data.topics import topics

    found: dict[str, None] = {}
    for name in sorted(topics):
        for part in re.split(r"\n\s*\n|(?<=[.!?])\s+(?=[A-Z])", topics[name]):
            sentence = " ".join(part.split())
            if 12 <= len(sentence) <= 900 and re.search(r"[a-z]{3}", sentence):
                found[sentence] = None
    every = list(found)
    if count > len(every):
        raise ValueError(f"count: this Python has {len(every)} sentences, not {count}")
    return [every[index * len(every) // count] for index in range(count)]


def load_peer() -> Any:
    """Return sentence-transformers' model from the same files, on the processor in fp32."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    from hardware.checkpoints import find_checkpoint

    transformers_logging.disable_progress_bar()
    return SentenceTransformer(str(find_checkpoint(MODEL).folder), device="cpu")


def _split(device: str) -> tuple[str, str]:
    """Return device and precision of "cpu:bf16", "openvino", "openvino:GPU:fp16"…"""
    head, _, last = device.rpartition(":")
    return (head, last) if head and last in {"fp32", "bf16", "fp16"} else (device, "auto")


def _open(devices: tuple[str, ...] | list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return loaded models by device, and a row with the reason for each that can't be used."""
    import hardware
    from api_backends.errors import ApiError

    models: dict[str, Any] = {}
    skipped: list[dict[str, Any]] = []
    for device in devices:
        name, precision = _split(device)
        try:
            models[device] = hardware.load(MODEL, name, precision=precision).warmup()
        except ApiError as error:
            skipped.append({"who": device, "skipped": str(error)})
    return models, skipped


def _interleave(
    contenders: dict[str, Callable[[], Any]], repeats: int
) -> dict[str, list[tuple[float, float]]]:
    """Run all contenders in turn; return (seconds, processor seconds) of each run."""
    for run in contenders.values():
        run()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


def measure_embeddings(
    sentences: list[str], devices: tuple[str, ...] | list[str] = DEVICES, repeats: int = 3
) -> list[dict[str, Any]]:
    """Return a row for each device: sentences/s, ratio to the peer, lowest cosine to fp32.

    Rows: `who, device, precision, sentences_per_s, seconds, cpu_seconds, ratio, cosine`; `ratio`
    and `cosine` are to sentence-transformers (fp32) and None where it isn't installed. A device
    that can't be used has a row `{who, skipped}`.
    """
    import numpy as np

    models, rows = _open(devices)
    contenders: dict[str, Callable[[], Any]] = {}
    vectors: dict[str, Any] = {}
    if find_spec("sentence_transformers") is not None:
        peer = load_peer()

        def run_peer() -> None:
            vectors[PEER] = peer.encode(sentences, batch_size=_PEER_BATCH, show_progress_bar=False)

        contenders[PEER] = run_peer

    def runner(name: str, model: Any) -> Callable[[], None]:
        def run() -> None:
            vectors[name] = model(sentences, truncate=True).embeddings

        return run

    contenders |= {name: runner(name, model) for name, model in models.items()}
    times = _interleave(contenders, repeats)
    base = _median(times, PEER)
    for name, spent in times.items():
        seconds = statistics.median(wall for wall, _ in spent)
        cosine = None
        if PEER in vectors:
            cosine = float(np.sum(vectors[name] * vectors[PEER], axis=1).min())
        rows.append(
            {
                "who": name,
                "device": models[name].device.id if name in models else "cpu",
                "precision": models[name].precision if name in models else "fp32",
                "sentences_per_s": len(sentences) / seconds,
                "seconds": seconds,
                "cpu_seconds": statistics.median(cpu for _, cpu in spent),
                "ratio": base / seconds if base else None,
                "cosine": cosine,
            }
        )
    for model in models.values():
        model.close()
    return rows


def measure_threads(
    sentences: list[str],
    devices: tuple[str, ...] | list[str] = DEVICES,
    repeats: int = 3,
    threads: int = 32,
) -> list[dict[str, Any]]:
    """Return a row for each device: one-sentence calls a second from `threads` threads at once.

    Rows: `who, threads, requests_per_s, seconds, ratio` and, for ours, `lone_requests_per_s`: the
    same calls by one thread. `ratio` is to sentence-transformers called the same way.
    """
    models, rows = _open(devices)
    contenders: dict[str, Callable[[], Any]] = {}
    if find_spec("sentence_transformers") is not None:
        peer = load_peer()
        contenders[PEER] = lambda: _from_threads(
            lambda text: peer.encode(text, show_progress_bar=False), sentences, threads
        )
    for name, model in models.items():
        call = _caller(model)
        contenders[name] = lambda call=call: _from_threads(call, sentences, threads)
        contenders[f"{name} alone"] = lambda call=call: _from_threads(call, sentences, 1)
    times = _interleave(contenders, repeats)
    base = _median(times, PEER)
    for name in ([PEER] if PEER in times else []) + list(models):
        seconds = _median(times, name)
        row = {
            "who": name,
            "threads": threads,
            "requests_per_s": len(sentences) / seconds,
            "seconds": seconds,
            "ratio": base / seconds if base else None,
        }
        if name in models:
            row["lone_requests_per_s"] = len(sentences) / _median(times, f"{name} alone")
        rows.append(row)
    for model in models.values():
        model.close()
    return rows


def measure_lone_call(
    sentences: list[str], devices: tuple[str, ...] | list[str] = DEVICES
) -> list[dict[str, Any]]:
    """Return a row for each device: a call with one sentence against the plain forward.

    Plain is the device's own forward of the same tokens with nothing around it; rows: `who,
    call_ms, forward_ms, ratio` (medians, the two taking turns).
    """
    models, rows = _open(devices)
    for name, model in models.items():
        model.warmup()
        forward = model._runs()._runner  # the same one: two would compete for caches and threads
        tokens = model._tokenizer.encode(sentences, truncate=True)
        calls, forwards = [], []
        for text, ids in zip(sentences, tokens, strict=True):
            began = time.perf_counter()
            forward.start([ids])()
            middle = time.perf_counter()
            model(text, truncate=True)
            forwards.append(middle - began)
            calls.append(time.perf_counter() - middle)
        call, plain = statistics.median(calls), statistics.median(forwards)
        rows.append(
            {
                "who": name,
                "call_ms": call * 1e3,
                "forward_ms": plain * 1e3,
                "ratio": statistics.median(c / f for c, f in zip(calls, forwards, strict=True)),
            }
        )
        model.close()
    return rows


def _caller(model: Any) -> Callable[[str], Any]:
    return lambda text: model(text, truncate=True)


def _median(times: dict[str, list[tuple[float, float]]], name: str) -> float:
    return statistics.median(wall for wall, _ in times[name]) if name in times else 0.0


def _from_threads(call: Callable[[str], Any], sentences: list[str], threads: int) -> None:
    """Call with each sentence once, from `threads` threads that share them out as they go."""
    rest = iter(sentences)
    lock = threading.Lock()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                with lock:
                    text = next(rest, None)
                if text is None:
                    return
                call(text)
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows with the same keys as a table, and the skipped ones as lines."""
    print(f"\n{title}")
    full = [row for row in rows if "skipped" not in row]
    columns = list(dict.fromkeys(key for row in full for key in row))
    lines = [columns, *([_cell(row.get(column)) for column in columns] for row in full)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    for row in rows:
        if "skipped" in row:
            print(f"  {row['who']}: skipped: {row['skipped']}")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5f}" if 0.9 < value < 1.00001 else f"{value:.2f}"
    return "" if value is None else str(value)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; `-o` also writes JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sentences", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--devices", nargs="+", default=list(DEVICES))
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(arguments)
    sentences = real_sentences(options.sentences)
    few = sentences[:: max(1, len(sentences) // 400)]
    results = {
        "batch": measure_embeddings(sentences, options.devices, options.repeats),
        "threads": measure_threads(few, options.devices, options.repeats, options.threads),
        "lone": measure_lone_call(few[:200], options.devices),
    }
    print_table(f"{len(sentences)} sentences in one call", results["batch"])
    print_table(f"One sentence a call, {options.threads} threads", results["threads"])
    print_table("A lone call against the plain forward", results["lone"])
    if options.output:
        options.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
