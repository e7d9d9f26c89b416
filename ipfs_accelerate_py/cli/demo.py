"""`ipfs-accelerate demo`: search by meaning on every device of this machine, without a network."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api_backends.errors import ApiError, ConfigurationError, InvalidRequestError

from .usage import UsageError, add_json, check_text

if TYPE_CHECKING:
    import argparse

    import numpy as np
    import numpy.typing as npt

    from hardware import Device

    from ..core import Accelerator
    from ..passages import Passage
    from ..search import Hit
    from .demo_texts import Collection
    from .terminal import Terminal

__all__ = ["Answered", "DeviceRun", "FailOver", "add_arguments", "run"]

INSTALL = "pip install 'ipfs_accelerate_py[demo]'"
KINDS = ("all", "cpu", "cuda", "openvino")
LOCAL = {"local_files_only": True}
"""The demo promises to need no network, so a model that isn't here is an error, not a download."""


@dataclass(slots=True)
class DeviceRun:
    """What one device made of the passages.

    `agreement` is the lowest cosine between its vectors and those of the first device, over all
    passages; `same` counts the queries with the same best passage as there.
    """

    id: str
    name: str
    precision: str = ""
    load_seconds: float = 0.0
    seconds: float = 0.0
    per_second: float = 0.0
    agreement: float | None = None
    same: int = 0
    problem: str = ""
    vectors: npt.NDArray[np.float32] | None = None
    model: Any = None


@dataclass(slots=True)
class Answered:
    """A query, its hits, and who answered it in what time (seconds, the search included)."""

    query: str
    hits: list[Hit]
    device: str
    implementation_type: str
    seconds: float


@dataclass(slots=True)
class FailOver:
    """What happened to a call whose first endpoint is a server that is down."""

    asked: list[str]
    down: str
    error: str = ""
    answered_by: str = ""
    implementation_type: str = ""
    seconds: float = 0.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="FOLDER",
        help="a folder of texts (.md, .rst, .txt, …), or a file; the project's own documents",
    )
    parser.add_argument(
        "--query", action="append", metavar="Q", help="what to look for; may be given several times"
    )
    parser.add_argument("--device", default="all", metavar="D", help="cpu, openvino, cuda or all")
    parser.add_argument("--top", type=int, default=2, metavar="N", help="hits for each query (2)")
    add_json(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Embed the documents on every device, answer the queries, tell what else is ready."""
    if arguments.device.partition(":")[0] not in KINDS:
        raise UsageError(f"--device: there is no {arguments.device!r}; it is {', '.join(KINDS)}")
    if arguments.top < 1:
        raise UsageError(f"--top: {arguments.top} given; it is 1 or more")
    queries = [check_text(query, "--query") for query in arguments.query or ()]
    from hardware.models import default_model

    from ..core import Accelerator
    from ..search import passages_of
    from .demo_texts import choose_collection
    from .demo_view import as_json, show

    model = default_model("feature-extraction")
    collection = choose_collection(arguments.folder)
    for reason in collection.left_out[:5]:
        terminal.note(f"left out: {reason}")
    passages = passages_of(collection.documents)
    if not passages:
        raise InvalidRequestError(
            f"FOLDER: there is no text in {collection.root}; texts are .md, .rst, .txt and the like"
        )
    runs = _run_devices(_devices(arguments.device), model, passages, terminal)
    with Accelerator(resources={"local": LOCAL}) as accelerator:
        answered = _answer(
            accelerator, model, queries or list(collection.queries), passages, runs, arguments
        )
        failover = _fail_over(accelerator, model) if arguments.device == "all" else None
        backends = accelerator.backends()
    _compare(runs, [each.query for each in answered])
    report = Report(model, collection, passages, runs, answered, failover, backends)
    if arguments.json:
        terminal.json(as_json(report))
    else:
        show(report, terminal)
    return 0


@dataclass(slots=True)
class Report:
    """All that the demo found out."""

    model: str
    collection: Collection
    passages: list[Passage]
    runs: list[DeviceRun]
    answered: list[Answered]
    failover: FailOver | None
    backends: list[dict[str, Any]]


def _devices(wanted: str) -> list[Device]:
    from hardware import detect_devices, resolve_device

    if wanted != "all":
        return [resolve_device(wanted)]
    found = detect_devices()
    usable = [device for device in found if device.available]
    if not usable:
        lacking = "; ".join(f"{d.id}: {d.reason}" for d in found if d.kind != "cuda")
        raise ConfigurationError(f"no device here can run the model: {INSTALL} ({lacking})")
    return usable


def _run_devices(
    devices: list[Device], model: str, passages: list[Passage], terminal: Terminal
) -> list[DeviceRun]:
    """Load the model on each device and embed the passages there."""
    runs, errors = [], []
    for device in devices:
        made = DeviceRun(device.id, device.name)
        try:
            _embed_on(device, model, passages, made, terminal)
        except ApiError as error:  # another device may still do
            made.problem = str(error)
            errors.append(error)
        runs.append(made)
    if len(errors) == len(devices):
        raise errors[0]
    return runs


def _embed_on(
    device: Device, model: str, passages: list[Passage], made: DeviceRun, terminal: Terminal
) -> None:
    import hardware

    began = time.perf_counter()
    with terminal.working(f"loading the model on {device.id} (the first time takes longer)"):
        loaded = hardware.load(model, device, local_files_only=True).warmup()
    made.load_seconds = time.perf_counter() - began
    made.model, made.precision = loaded, loaded.precision
    texts = [passage.text_with_heading for passage in passages]
    began = time.perf_counter()
    with terminal.progress(f"reading on {device.id}", "passages") as progress:
        answer = loaded(texts, truncate=True, progress=progress)
    made.seconds = time.perf_counter() - began
    made.per_second = len(texts) / made.seconds
    made.vectors = answer.embeddings


def _answer(
    accelerator: Accelerator,
    model: str,
    queries: list[str],
    passages: list[Passage],
    runs: list[DeviceRun],
    arguments: argparse.Namespace,
) -> list[Answered]:
    """Answer the queries through the core: it says itself which device did."""
    from ..search import SearchIndex

    endpoint_type = None if arguments.device == "all" else arguments.device
    handler = accelerator.endpoint_handler(model, endpoint_type)
    working = {each.id: each for each in runs if not each.problem}
    first = next((name for name in handler.endpoints if name in working), next(iter(working)))
    said: list[Any] = []

    def embed(texts: list[str]) -> Any:
        said.append(handler(texts, truncate=True))
        return said[-1]

    vectors = working[first].vectors
    assert vectors is not None  # it had no problem
    index = SearchIndex(passages, vectors, embed)
    answered = []
    for query in queries:
        began = time.perf_counter()
        hits = index.search(query, arguments.top)
        seconds = time.perf_counter() - began
        who = said[-1]
        answered.append(Answered(query, hits, who.device, who.implementation_type, seconds))
    return answered


def _compare(runs: list[DeviceRun], queries: list[str]) -> None:
    """Compare each device's vectors, and what it finds, with the first one's."""
    from ..search import unit_length

    first: DeviceRun | None = None
    best: list[int] = []
    for each in runs:
        if each.vectors is None:
            continue
        vectors = unit_length(each.vectors)
        found = (unit_length(each.model(queries, truncate=True).embeddings) @ vectors.T).argmax(1)
        if first is None:
            first, best, reference = each, found.tolist(), vectors
        each.agreement = float((vectors * reference).sum(axis=1).min())
        each.same = sum(a == b for a, b in zip(best, found.tolist(), strict=True))


def _fail_over(accelerator: Accelerator, model: str) -> FailOver:
    """Put a server that is down first in line, and ask."""
    from ..own_server import OwnServer

    # Bound and not listening: the port is ours, and whoever calls it is refused.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        told = FailOver([], url)

        def server(texts: Any, **_options: Any) -> Any:
            try:
                return down.embed(texts, model, max_retries=0, timeout=10.0)
            except ApiError as error:
                told.error = type(error).__name__
                raise

        with OwnServer(url) as down:
            accelerator.add_endpoint(model, url, server)
            handler = accelerator.endpoint_handler(model)
            told.asked = handler.endpoints
            began = time.perf_counter()
            answer = handler("Who answers this?")
            told.seconds = time.perf_counter() - began
            accelerator.rm_endpoint(model, url)
    told.answered_by = answer.device or answer.backend
    told.implementation_type = answer.implementation_type
    return told
