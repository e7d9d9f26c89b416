#!/usr/bin/env python3
"""Measure this library, and what others do the same job with, in one run on one machine.

    python test/run_performance_tests.py                  # our own figures
    python test/run_performance_tests.py --peers          # and every installed peer's, in turn
    python test/run_performance_tests.py --models all --batch_size 8
    python test/run_performance_tests.py --peers -o figures.json --chart figures.png

What is measured and how is in docs/benchmarks.md. Exits 0 if everything was measured that can be
here; with --strict only if every stated target holds as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# The packages first: tests may stand in folders of the same names beside this script.
sys.path[:] = [str(ROOT), str(ROOT / "test"), *(p for p in sys.path if p != str(ROOT / "test"))]

from benchmarks import http_peers, report, startup  # noqa: E402 - they are found by the line above
from benchmarks.http_peers import DEFAULT_LIMIT, NO_ORJSON  # noqa: E402
from benchmarks.report import OURS, Figure, Row, Target  # noqa: E402
from benchmarks.timing import (  # noqa: E402
    QUICK,
    Effort,
    measure_calls,
    measure_streams,
    measure_threads,
)
from servers import bench_server  # noqa: E402

EMBEDDING_PEER = "sentence-transformers"
PARTS = ("chat", "threads", "streams", "startup", "embeddings", "soak")

TARGETS = (
    Target("CPU of a chat call ÷ requests'", "chat_cpu", 0.6, "requests"),
    Target("CPU of a chat call ÷ urllib3's", "chat_cpu", 1.3, "urllib3"),
    Target("calls/s from 16 threads ÷ requests'", "chat_rate_16", 1.8, "requests", at_least=True),
    Target("calls/s from 16 threads ÷ openai's", "chat_rate_16", 2.5, "openai", at_least=True),
    Target("calls/s from 16 threads ÷ litellm's", "chat_rate_16", 6.0, "litellm", at_least=True),
    Target("CPU of a streamed chunk ÷ requests'", "stream_cpu", 1.0, "requests"),
    Target("import api_backends, ms", "import_ms", 30, row=OURS),
    Target("import ipfs_accelerate_py, ms", "import_ms", 30, row=startup.CORE),
    Target("third-party packages after import api_backends", "import_third_party", 0, row=OURS),
    Target(
        "third-party packages after import ipfs_accelerate_py",
        "import_third_party",
        0,
        row=startup.CORE,
    ),
    Target("from nothing to a made back end, ms", "made_ms", 150, row=OURS),
    *(
        Target(
            f"sentences/s on {device} ÷ sentence-transformers'",
            "embed_rate",
            limit,
            EMBEDDING_PEER,
            at_least=True,
            row=f"{OURS}, {device}",
        )
        for device, limit in (("cpu:fp32", 1.8), ("cpu:bf16", 4.0), ("openvino", 6.0))
    ),
    Target(
        "one sentence a call, 32 threads, openvino ÷ sentence-transformers'",
        "embed_threads_rate",
        4.0,
        EMBEDDING_PEER,
        at_least=True,
        row=f"{OURS}, openvino",
    ),
    Target(
        "a lone call on openvino ÷ its plain forward", "embed_lone", 1.1, row=f"{OURS}, openvino"
    ),
)


# Tables of embeddings: what is compared in them, its unit, and what stands over its bars.
RATES = {
    "embed_rate": ("sentences_per_s", "sentences/s", "Embeddings, one call"),
    "embed_threads_rate": ("requests_per_s", "calls/s", "Embeddings, 32 threads"),
    "embed_lone": ("ratio", "of the plain forward", ""),
}


def _who(name: str) -> str:
    """Return a contender's name; a device's is one of our rows."""
    return name if name == EMBEDDING_PEER else f"{OURS}, {name}"


@dataclass(slots=True)
class Run:
    """What one run has found so far."""

    figures: list[Figure] = field(default_factory=list)
    embeddings: list[dict[str, Any]] = field(default_factory=list)
    soak: Any = None
    skipped: dict[str, str] = field(default_factory=dict)

    def show(self, heading: str, *figures: Figure) -> None:
        """Keep figures, and print them as a table."""
        self.figures += figures
        print("\n" + report.table(heading, figures), flush=True)

    def keep_embeddings(self, key: str, heading: str, rows: list[dict[str, Any]]) -> None:
        """Keep and print rows of the embeddings' benchmark; their rates become a figure."""
        self.embeddings += [{"table": key, **row} for row in rows]
        for row in rows:
            if "skipped" in row:
                name = ", ".join(filter(None, (row.get("model"), row.get("who"))))
                self.skipped[f"{key}, {name}"] = row["skipped"]
        rows = [row for row in rows if "skipped" not in row]
        if not rows:
            return
        print("\n" + report.plain_table(heading, rows), flush=True)
        if key in RATES:
            measured, unit, caption = RATES[key]
            found = [Row(_who(row["who"]), [row[measured]]) for row in rows]
            figure = Figure(key, heading, unit, found, not caption, caption, base=found[-1].name)
            self.figures.append(figure)


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    http_peers.quiet_environment()
    run = Run()
    effort = QUICK if options.quick else Effort()
    machine = describe_machine()
    print(f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}")
    print(", ".join(f"{name} {found}" for name, found in machine["versions"].items()))
    print("Medians; ± is half the distance between the quartiles; ours÷ is our figure by theirs.")
    with bench_server.start() as server:
        url = server.url + "/v1"
        if not {"chat", "threads", "streams"}.isdisjoint(options.only):
            measure_http(run, url, effort, options)
        if "startup" in options.only:
            _note("starting processes")
            rounds = 3 if options.quick else 7
            figures, skipped = startup.measure_startup(url, rounds, with_peers=options.peers)
            run.skipped |= {f"{name}, start": why for name, why in skipped.items()}
            run.show("Start: what a fresh process pays", *figures)
        if "soak" in options.only:
            measure_soak(run, url)
    if "embeddings" in options.only:
        measure_embeddings(run, options)
    return conclude(run, machine, options)


def measure_http(run: Run, url: str, effort: Effort, options: argparse.Namespace) -> None:
    """Measure calls and streams over HTTP: ours, and with --peers the others."""
    _note("opening clients")
    clients, skipped = http_peers.open_clients(url, with_peers=options.peers)
    run.skipped |= skipped
    usual = http_peers.open_ours(url, DEFAULT_LIMIT, limit=None)
    try:
        if "chat" in options.only:
            _note("calling from one thread")
            run.show("Chat calls, one after the other", *measure_calls(clients, effort))
        if "threads" in options.only:
            _note("calling from 16 threads")
            shared = [clients[0], usual, *clients[1:]]
            run.show("Chat calls from 16 threads at once", measure_threads(shared, effort))
        if "streams" in options.only:
            _note("reading streams")
            run.show("Streams of 1000 chunks", measure_streams(clients, effort))
    finally:
        for client in (*clients, usual):
            client.close()


def measure_embeddings(run: Run, options: argparse.Namespace) -> None:
    """Measure sentences a second on this machine's devices, where the local models can run."""
    module, batches = _part("embeddings", run), _part("batches", run)
    if module is None or batches is None:
        return
    sentences = module.real_sentences(200 if options.quick else 2000)
    few = sentences[:: max(1, len(sentences) // 400)]
    repeats = 2 if options.quick else 3
    tables: list[tuple[str, str, Callable[[], list[dict[str, Any]]]]] = []
    if options.models:
        tables.append(
            (
                "batches",
                f"Embeddings: {len(few)} sentences, {options.batch_size} a call",
                lambda: batches.measure_batches(
                    few,
                    module.DEVICES,
                    models=options.models,
                    batch_size=options.batch_size,
                    repeats=repeats,
                    peers=options.peers,
                ),
            )
        )
    if options.peers:
        tables += [
            (
                "embed_rate",
                f"Embeddings: {len(sentences)} sentences of mixed length in one call",
                lambda: module.measure_embeddings(sentences, repeats=repeats),
            ),
            (
                "embed_threads_rate",
                "Embeddings: one sentence a call, from 32 threads",
                lambda: module.measure_threads(few, repeats=repeats),
            ),
            (
                "embed_lone",
                "Embeddings: a lone call against the plain forward",
                lambda: module.measure_lone_call(few[:200]),
            ),
        ]
    for key, heading, measure in tables:
        _note(heading)
        try:
            rows = measure()
        except ImportError as error:
            run.skipped[heading] = str(error)
            continue
        run.keep_embeddings(key, heading, rows)


def measure_soak(run: Run, url: str) -> None:
    """Make 100,000 calls through one back end and see whether memory stays flat."""
    module = _part("soak", run)
    if module is None:
        return
    _note("making 100,000 calls")
    run.soak = module.measure_soak(url)
    rows = run.soak if isinstance(run.soak, list) else [run.soak]
    print("\n" + report.plain_table("100,000 calls through one back end", rows), flush=True)


def _part(name: str, run: Run) -> Any:
    if not (ROOT / "test" / "benchmarks" / f"{name}.py").is_file():
        run.skipped[name] = f"test/benchmarks/{name}.py is not in this version"
        return None
    try:
        return import_module(f"benchmarks.{name}")
    except ImportError as error:
        run.skipped[name] = str(error)
        return None


def conclude(run: Run, machine: dict[str, Any], options: argparse.Namespace) -> int:
    """Print bars, verdicts and what was skipped; write the files asked for."""
    charted = [f for f in run.figures if f.key in CHARTED and f.row(f.base) and len(f.rows) > 1]
    if options.peers:
        for figure in charted:
            print("\n" + report.bars(figure))
    lines, judged = report.verdicts(TARGETS, run.figures, (OURS, NO_ORJSON))
    print("\nStated targets\n" + lines)
    for name, why in run.skipped.items():
        print(f"skipped: {name}: {why}")
    if options.output:
        data = report.as_json(run.figures, judged, run.skipped, machine)
        data |= {"embeddings": run.embeddings, "soak": run.soak, "command": sys.argv[1:]}
        options.output.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        print(f"figures: {options.output}")
    if options.chart:
        if not charted:
            print("skipped: chart: there is nothing to compare; add --peers")
        else:
            subtitle = f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}"
            try:
                report.draw_chart(charted, str(options.chart), subtitle)
                print(f"chart: {options.chart}")
            except ImportError:
                print("skipped: chart: matplotlib is not installed; the extra `peers` has it")
    missed = [entry for entry in judged if entry["holds"] is False]
    return 1 if options.strict and missed else 0


CHARTED = (
    "chat_cpu",
    "chat_rate_16",
    "stream_cpu",
    "import_ms",
    "answer_ms",
    "resident_mib",
    "embed_rate",
    "embed_threads_rate",
)


def describe_machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, Python, versions of the libraries."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        named = re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8"))
        cpu = named[1] if named else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = {peer.name: peer.version for peer in http_peers.PEERS}
    versions["orjson"] = http_peers.installed_version("orjson")
    return {
        "cpu": cpu,
        "cores": cores,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: found for name, found in versions.items() if found},
    }


def _note(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--peers", action="store_true", help="measure every installed peer too")
    parser.add_argument("--models", help="local models to embed with: 'all', or one's name")
    parser.add_argument("--batch_size", "--batch-size", type=int, default=8, help="sentences")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="measure these parts alone")
    parser.add_argument("--quick", action="store_true", help="fewer, shorter rounds: a smoke test")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a stated target is missed")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write figures as JSON")
    parser.add_argument("--chart", type=Path, metavar="FILE.png", help="draw the figures")
    options = parser.parse_args(argv)
    if options.batch_size < 1:
        parser.error(f"--batch_size: {options.batch_size} is not at least 1")
    if options.only is None:
        options.only = list(PARTS[:4])
        if options.models and not options.peers:
            options.only = ["embeddings"]
        elif options.peers:
            options.only.append("embeddings")
    if "embeddings" in options.only and not options.peers:
        options.models = options.models or "all"
    return options


if __name__ == "__main__":
    sys.exit(main())
