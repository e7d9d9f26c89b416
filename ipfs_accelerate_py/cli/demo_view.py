"""What the demo shows: hits with their place and best sentence, devices side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .backends import backend_lines
from .terminal import display_width, shortened, without_controls

if TYPE_CHECKING:
    from ..search import Hit
    from .demo import Answered, DeviceRun, FailOver, Report
    from .terminal import Terminal

__all__ = ["as_json", "show"]

FAR = 0.2
"""Below this cosine, two texts have little to do with each other for the default model."""
LINES = 3
"""Lines of a passage that are shown."""


def show(report: Report, terminal: Terminal) -> None:
    """Print the report for a person."""
    documents = report.collection.documents
    terminal.line(terminal.style("Search by meaning", "bold"))
    about = (
        f"{len(report.passages)} passages of {len(documents)} "
        f"{'document' if len(documents) == 1 else 'documents'}: {report.collection.about}, "
        f"{report.collection.root}. The model is {report.model}; no key, no network."
    )
    for line in terminal.wrapped(about, ""):
        terminal.line(terminal.style(line, "dim"))
    for answered in report.answered:
        _show_answer(answered, terminal)
    terminal.heading("Devices", "the same model and passages on each")
    _show_devices(report.runs, len(report.answered), terminal)
    if report.failover is not None:
        terminal.heading("Fail-over", "the same call, with a server first in line that is down")
        _show_fail_over(report.failover, terminal)
    terminal.heading("Back ends", "what else could answer, and what it still needs")
    backend_lines(report.backends, terminal)


def _show_answer(answered: Answered, terminal: Terminal) -> None:
    terminal.line()
    terminal.line(terminal.style(f"? {without_controls(answered.query)}", "bold", "cyan"))
    for rank, hit in enumerate(answered.hits, 1):
        bar = terminal.bar(hit.score, 10)
        place = without_controls(f"{hit.file}:{hit.line}")
        head = f"  {rank} {bar} {max(hit.score, 0.0):4.2f}  "
        room = terminal.width - display_width(head)
        place = shortened(place, room)
        # The end of the path of headings says most.
        heading = without_controls(hit.passage.heading).rpartition(" > ")[2]
        left = room - display_width(place) - 2
        beside = terminal.style(shortened(heading, left), "dim") if heading and left > 8 else ""
        terminal.line(f"{head}{place}" + (f"  {beside}" if beside else ""))
        for line in _snippet(hit, terminal):
            terminal.line(line)
    if answered.hits[0].score < FAR:
        terminal.line(terminal.style("  nothing here comes close", "yellow"))
    terminal.line(
        terminal.style(
            f"  answered by {answered.device} {answered.implementation_type} "
            f"in {answered.seconds * 1000:.0f} ms",
            "dim",
        )
    )


def _snippet(hit: Hit, terminal: Terminal) -> list[str]:
    """Return the nearest sentence among its neighbours, wrapped, the sentence highlighted."""
    indent = "    "
    room = terminal.width - len(indent)
    units = hit.passage.units
    if units[hit.best].code:
        return _code_lines(hit, indent, room, terminal)
    texts = [without_controls(" ".join(unit.text.split())) for unit in units]
    begin, end = hit.best, hit.best + 1
    space = room * LINES - room // 4 - display_width(texts[hit.best])
    while end < len(units) and not units[end].code and len(texts[end]) + 1 <= space:
        space -= len(texts[end]) + 1
        end += 1
    while begin > 0 and not units[begin - 1].code and len(texts[begin - 1]) + 1 <= space:
        begin -= 1
        space -= len(texts[begin]) + 1
    words = [(word, i == hit.best) for i in range(begin, end) for word in texts[i].split()]
    lines = _wrapped(words, room)
    if len(lines) > LINES:
        lines = lines[:LINES]
        lines[-1].append(("…", False))
    return [indent + _styled(line, terminal) for line in lines]


def _code_lines(hit: Hit, indent: str, room: int, terminal: Terminal) -> list[str]:
    begin = max(0, hit.best - 1)
    lines = []
    for index, unit in enumerate(hit.passage.units[begin : begin + LINES], begin):
        text = shortened(without_controls(unit.text.expandtabs(4)), room)
        lines.append(indent + (terminal.style(text, "hit") if index == hit.best else text))
    return lines


Words = list[tuple[str, bool]]


def _wrapped(words: Words, room: int) -> list[Words]:
    """Put words on lines of at most `room` columns; a word that is longer is cut."""
    lines: list[Words] = [[]]
    used = 0
    for whole, is_hit in words:
        word = shortened(whole, room)
        width = display_width(word)
        if lines[-1] and used + 1 + width > room:
            lines.append([])
            used = 0
        used += width + (1 if lines[-1] else 0)
        lines[-1].append((word, is_hit))
    return lines


def _styled(line: Words, terminal: Terminal) -> str:
    """Return a line with its highlighted words in one stretch of colour."""
    runs: list[tuple[list[str], bool]] = []
    for word, is_hit in line:
        if not runs or runs[-1][1] != is_hit:
            runs.append(([], is_hit))
        runs[-1][0].append(word)
    return " ".join(
        terminal.style(" ".join(words), "hit") if is_hit else " ".join(words)
        for words, is_hit in runs
    )


def _show_devices(runs: list[DeviceRun], queries: int, terminal: Terminal) -> None:
    fastest = max(each.per_second for each in runs)
    rows = []
    for each in runs:
        if each.problem:
            continue
        rows.append(
            [
                each.id,
                each.precision,
                f"{each.load_seconds:.1f} s",
                f"{each.per_second:.0f}",
                f"{each.agreement:.5f}",
                f"{each.same} of {queries}",
                terminal.bar(each.per_second / fastest, 10),
            ]
        )
    headers = "device", "precision", "load", "passages/s", "agreement", "same hits", "speed"
    terminal.table(headers, rows, right=(2, 3, 4, 5))
    for each in runs:
        if each.problem:
            for line in terminal.wrapped(f"{each.id} failed: {each.problem}", "  "):
                terminal.line(terminal.style(line, "yellow"))
    if len(rows) > 1:
        text = (
            f"Agreement is the lowest cosine of any passage's vector with that of {runs[0].id}; "
            "same hits are queries with the same best passage."
        )
        for line in terminal.wrapped(text, "  "):
            terminal.line(terminal.style(line, "dim"))


def _show_fail_over(told: FailOver, terminal: Terminal) -> None:
    rows = []
    for name in told.asked:
        if name == told.down:
            rows.append([name, f"down: {told.error}"])
        elif name == told.answered_by:
            text = f"answered {told.implementation_type}, {told.seconds * 1000:.0f} ms in all"
            rows.append([name, terminal.style(text, "green")])
        else:
            rows.append([name, "would have been next"])
    terminal.table(["asked in this order", "what happened"], rows)


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as data."""
    return {
        "model": report.model,
        "documents": {
            "about": report.collection.about,
            "root": report.collection.root,
            "files": [document.name for document in report.collection.documents],
            "passages": len(report.passages),
            "left_out": report.collection.left_out,
        },
        "queries": [_answer_json(answered) for answered in report.answered],
        "devices": [_run_json(each) for each in report.runs],
        "failover": None if report.failover is None else _fail_over_json(report.failover),
        "backends": report.backends,
    }


def _answer_json(answered: Answered) -> dict[str, Any]:
    return {
        "query": answered.query,
        "device": answered.device,
        "implementation_type": answered.implementation_type,
        "seconds": round(answered.seconds, 4),
        "results": [
            {
                "rank": rank,
                "score": round(hit.score, 5),
                "file": hit.file,
                "line": hit.line,
                "heading": hit.passage.heading,
                "sentence": hit.sentence,
                "text": hit.passage.text,
            }
            for rank, hit in enumerate(answered.hits, 1)
        ],
    }


def _run_json(each: DeviceRun) -> dict[str, Any]:
    return {
        "device": each.id,
        "name": each.name,
        "works": not each.problem,
        "problem": each.problem or None,
        "precision": each.precision or None,
        "load_seconds": round(each.load_seconds, 3),
        "passages_per_second": round(each.per_second, 1),
        "agreement": each.agreement,
        "same_best_hits": each.same,
    }


def _fail_over_json(told: FailOver) -> dict[str, Any]:
    return {
        "asked": told.asked,
        "down": told.down,
        "error": told.error,
        "answered_by": told.answered_by,
        "implementation_type": told.implementation_type,
        "seconds": round(told.seconds, 4),
    }
