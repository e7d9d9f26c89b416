"""`ipfs-accelerate devices`: what this machine has to run models on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .usage import add_json

if TYPE_CHECKING:
    import argparse

    from .terminal import Terminal

__all__ = ["add_arguments", "device_table", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_json(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """List the devices."""
    from dataclasses import asdict

    from hardware import detect_devices

    rows = [asdict(device) for device in detect_devices()]
    if arguments.json:
        terminal.json({"devices": rows})
        return 0
    device_table(rows, terminal)
    sets = next((row["instruction_sets"] for row in rows if row["instruction_sets"]), ())
    if sets:
        terminal.line()
        for line in terminal.wrapped(f"The processor has {', '.join(sets)}.", "  "):
            terminal.line(line)
    return 0


def device_table(rows: list[dict[str, Any]], terminal: Terminal) -> None:
    """Print what each device is called, has and lacks."""
    table = [
        [
            row["id"],
            f"{row['memory_bytes'] / 2**30:.1f} GiB" if row["memory_bytes"] else "-",
            " ".join(row["precisions"]) or "-",
            (row["name"] or "-") if row["available"] else f"not usable: {row['reason']}",
        ]
        for row in rows
    ]
    terminal.table(["device", "memory", "computes in", "what it is"], table, right=(1,))
