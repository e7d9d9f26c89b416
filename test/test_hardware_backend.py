"""Check models on a device of this machine against what transformers itself computes.

    python test/test_hardware_backend.py --backend cpu|openvino|cuda [--model NAME|all] [-o F] [-v]

NAME is a type of mapped_models.json (a small model of it is built from its configuration class, by
seed), a hub id, or a folder; `all` is every mapped type and the real all-MiniLM-L6-v2. Without
--model: all-MiniLM-L6-v2. Every precision of the device is run and compared with the fp32 forward
of sentence-transformers, or of transformers for the small models. Exit code 0 only if everything
that was run held; what could not be run is "skipped: why".
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import statistics
import sys
import tempfile
import threading
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT, ROOT / "test" / "hardware"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
SENTENCES = [
    "The sun is large and the moon is small.",
    "How do I reset my password?",
    "A cat sleeps on the sofa while it rains outside, and nobody minds.",
    "Night.",
    "An index is a structure that makes it quick to find the rows of a table by some column.",
    "The train to the coast leaves at nine from platform two, but on Sundays at ten.",
]
# Lowest cosine to fp32 that is accepted, and for fp32 the largest deviation of a number.
LOWEST_COSINE = {"fp32": 0.99999, "bf16": 0.999, "fp16": 0.999}
LARGEST_DEVIATION = 1e-4


class Skipped(Exception):  # noqa: N818 (it is no error)
    """Something that can't be checked here, and why."""


def check_device(backend: str) -> Any:
    """Return the device, or raise Skipped where this machine lacks it."""
    import hardware
    from api_backends.errors import ConfigurationError

    try:
        return hardware.resolve_device(backend)
    except ConfigurationError as error:
        known = {device.kind for device in hardware.detect_devices()}
        if backend.partition(":")[0] in known:
            raise Skipped(str(error)) from error
        raise


def find_reference(name: str, scratch: Path) -> tuple[str, list[str], Any]:
    """Return what to load, texts for it, and fp32 vectors that were not computed by us."""
    import hardware

    if name in hardware.mapped_models():
        if find_spec("transformers") is None:
            raise Skipped("the package transformers, which builds the small model, is missing")
        import tiny_models

        folder = tiny_models.build_tiny_model(name, scratch / name)
        texts = tiny_models.TEXTS
        return str(folder), texts, tiny_models.reference_vectors(folder, texts)
    from hardware.checkpoints import find_checkpoint

    checkpoint = find_checkpoint(name)
    if find_spec("sentence_transformers") is None:
        raise Skipped("the package sentence-transformers, to compare with, is missing")
    from sentence_transformers import SentenceTransformer

    peer = SentenceTransformer(str(checkpoint.folder), device="cpu")
    return name, SENTENCES, peer.encode(SENTENCES, show_progress_bar=False)


def check_model(name: str, device: Any, scratch: Path) -> list[dict[str, Any]]:
    """Run one model in every precision of the device; return a row for each."""
    from api_backends.errors import ApiError

    try:
        target, texts, wanted = find_reference(name, scratch)
    except Skipped as reason:
        return [{"model": name, "status": "skipped", "why": str(reason)}]
    except ApiError as error:
        return [{"model": name, "status": "FAILED", "why": str(error)}]
    rows = []
    for precision in device.precisions:
        row: dict[str, Any] = {"model": name, "device": device.id, "precision": precision}
        try:
            row |= compare(target, texts, wanted, device, precision)
        except ApiError as error:
            row |= {"status": "FAILED", "why": f"{type(error).__name__}: {error}"}
        rows.append(row)
    return rows


def compare(
    target: str, texts: list[str], wanted: Any, device: Any, precision: str
) -> dict[str, Any]:
    """Return how close to `wanted` the device comes, in one call and in many, and how fast."""
    import numpy as np

    import hardware

    with hardware.load(target, device, precision=precision) as model:
        answer = model(texts)
        got = answer.embeddings
        threaded = from_threads(model, texts)
        times = []
        for text in texts * 3:
            began = time.perf_counter()
            model(text)
            times.append(time.perf_counter() - began)
    lengths = np.linalg.norm(got, axis=1) * np.linalg.norm(wanted, axis=1)
    cosine = float(((got * wanted).sum(axis=1) / lengths).min())
    deviation = float(np.abs(got - wanted).max())
    alike = float(np.abs(threaded - got).max())
    reasons = []
    if cosine < LOWEST_COSINE[precision]:
        reasons.append(f"cosine {cosine:.6f} is below {LOWEST_COSINE[precision]}")
    if precision == "fp32" and deviation > LARGEST_DEVIATION:
        reasons.append(f"deviation {deviation:.2g} is above {LARGEST_DEVIATION}")
    if alike > (1e-4 if precision == "fp32" else 0.1):
        reasons.append(f"calls from many threads differ by {alike:.2g}")
    return {
        "dimensions": got.shape[1],
        "cosine": cosine,
        "deviation": deviation,
        "ms_per_text": statistics.median(times) * 1e3,
        "status": "FAILED" if reasons else "ok",
        "why": "; ".join(reasons),
        "implementation_type": answer.implementation_type,
    }


def from_threads(model: Any, texts: list[str]) -> Any:
    """Return the vectors of `texts`, each asked for by a thread of its own."""
    import numpy as np

    vectors: list[Any] = [None] * len(texts)
    errors: list[BaseException] = []

    def call(index: int) -> None:
        try:
            vectors[index] = model(texts[index]).embeddings[0]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(index,)) for index in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return np.stack(vectors)


def print_devices(verbose: bool) -> None:
    """Print what this machine has."""
    import hardware

    for device in hardware.detect_devices():
        state = device.reason or f"{device.memory_bytes / 2**30:.0f} GiB, " + ", ".join(
            device.precisions
        )
        print(f"  {device.id:<14} {device.name or '-':<24} {state}")
        if verbose and device.instruction_sets:
            print(f"  {'':<14} {' '.join(device.instruction_sets)}")


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print the compatibility matrix."""
    width = max(len(row["model"]) for row in rows)
    print(
        f"\n{'model':<{width}}  precision  dimensions  cosine to fp32  deviation  ms/text  result"
    )
    for row in rows:
        if "cosine" in row:
            print(
                f"{row['model']:<{width}}  {row['precision']:<9}  {row['dimensions']:>10}  "
                f"{row['cosine']:>14.6f}  {row['deviation']:>9.1e}  {row['ms_per_text']:>7.2f}  "
                f"{row['status']} {row['implementation_type']} {row['why']}".rstrip()
            )
        else:
            print(
                f"{row['model']:<{width}}  {row.get('precision', ''):<9}  "
                f"{row['status']}: {row['why']}"
            )


def run(backend: str, model: str, verbose: bool = False) -> tuple[list[dict[str, Any]], int]:
    """Check and print; return the rows and the exit code."""
    import hardware

    print("Devices of this machine:")
    print_devices(verbose)
    names = [MINILM, *sorted(hardware.mapped_models())] if model == "all" else [model]
    try:
        device = check_device(backend)
    except Skipped as reason:
        rows = [{"model": name, "status": "skipped", "why": str(reason)} for name in names]
        print_rows(rows)
        return rows, 0
    rows = []
    with tempfile.TemporaryDirectory() as scratch, own_cache(Path(scratch)):
        for name in names:
            rows += check_model(name, device, Path(scratch))
    print_rows(rows)
    counts = {status: sum(row["status"] == status for row in rows) for status in ("ok", "skipped")}
    failed = len(rows) - sum(counts.values())
    print(f"\n{counts['ok']} ok, {counts['skipped']} skipped, {failed} FAILED")
    return rows, 1 if failed else 0


@contextlib.contextmanager
def own_cache(folder: Path) -> Any:
    """Keep converted small models out of the user's cache."""
    before = os.environ.get("IPFS_ACCELERATE_CACHE")
    os.environ["IPFS_ACCELERATE_CACHE"] = before or str(folder / "cache")
    try:
        yield
    finally:
        if before is None:
            del os.environ["IPFS_ACCELERATE_CACHE"]


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and run."""
    from api_backends.errors import ApiError

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", required=True, help="cpu, openvino, cuda, cuda:1, …")
    parser.add_argument("--model", default=MINILM, help="a mapped type, a hub id, a folder, or all")
    parser.add_argument("-o", "--output", type=Path, help="write the rows as JSON")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args(arguments)
    if not options.verbose:
        warnings.simplefilter("ignore")
        logging.getLogger("transformers").setLevel(logging.ERROR)
    if find_spec("transformers") is not None and find_spec("torch") is not None:
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
    try:
        rows, code = run(options.backend, options.model, options.verbose)
    except ApiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.output:
        record = {"backend": options.backend, "rows": rows}
        options.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return code


def test_the_script_holds_on_cpu(tmp_path: Path, capsys: Any) -> None:
    import pytest

    for package in ("torch", "transformers", "tokenizers"):
        pytest.importorskip(package)
    with warnings.catch_warnings():
        assert main(["--backend", "cpu", "--model", "bert", "-o", str(tmp_path / "rows")]) == 0
    rows = json.loads((tmp_path / "rows").read_text(encoding="utf-8"))["rows"]
    assert rows[0]["status"] == "ok"
    assert "(REAL)" in capsys.readouterr().out


def test_the_script_says_why_it_skips(capsys: Any) -> None:
    import hardware

    if any(d.kind == "cuda" and d.available for d in hardware.detect_devices()):
        import pytest

        pytest.skip("this machine has a GPU")
    with warnings.catch_warnings():
        assert main(["--backend", "cuda"]) == 0
    out = capsys.readouterr().out
    assert "skipped: device:" in out
    assert "(REAL)" not in out


def test_the_script_fails_on_what_is_not_there(capsys: Any) -> None:
    with warnings.catch_warnings():
        assert main(["--backend", "abacus"]) == 2
    assert "abacus" in capsys.readouterr().err


if __name__ == "__main__":
    sys.exit(main())
