"""`ipfs-accelerate backends`: which back ends are ready, and what each other still needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .usage import add_json

if TYPE_CHECKING:
    import argparse

    from .terminal import Terminal

__all__ = ["LATER", "add_arguments", "backend_lines", "run"]

LATER = "a later version"
"""What the core says that a back end needs which this version doesn't hold."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_json(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """List the back ends; asks no network."""
    from ..core import Accelerator

    with Accelerator() as accelerator:
        rows = accelerator.backends()
    if arguments.json:
        terminal.json({"backends": rows})
    else:
        backend_lines(rows, terminal)
    return 0


def backend_lines(rows: list[dict[str, Any]], terminal: Terminal, *, features: bool = True) -> None:
    """Print the back ends of this version as a table, the others as a line."""
    built = [row for row in rows if row["needs"] != LATER]
    table = [
        [
            row["name"],
            terminal.style("ready", "green") if row["ready"] else "not yet",
            ", ".join(row["features"]).replace("_", " ")
            if row["ready"] and features
            else f"needs {row['needs']}"
            if row["needs"]
            else "",
        ]
        for row in built
    ]
    terminal.table(["back end", "state", "what it does, or still needs"], table)
    later = [row["name"] for row in rows if row["needs"] == LATER]
    if later:
        terminal.line()
        for line in terminal.wrapped(f"In later versions: {', '.join(later)}.", "  "):
            terminal.line(terminal.style(line, "dim"))
