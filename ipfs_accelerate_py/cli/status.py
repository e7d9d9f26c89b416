"""`ipfs-accelerate status`: what is ready, in short."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from .backends import backend_lines
from .devices import device_table
from .usage import add_json

if TYPE_CHECKING:
    import argparse

    from ..core import Accelerator
    from .terminal import Terminal

__all__ = ["add_arguments", "run"]

PACKAGES = ("torch", "transformers", "openvino", "tokenizers", "requests", "numpy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "--test",
        action="store_true",
        help="run a sentence through every device and ask every configured back end",
    )
    add_json(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Print versions, devices and back ends; with --test, what really answers."""
    from hardware.disk_cache import cache_folder

    from .. import __version__
    from ..core import Accelerator

    with Accelerator() as accelerator:
        status: dict[str, Any] = {
            "version": __version__,
            "python": platform.python_version(),
            "packages": {name: _version(name) for name in PACKAGES},
            "cache": str(cache_folder()),
            **accelerator.status(),
        }
        if arguments.test:
            status["test"] = _test(accelerator, status["backends"], terminal)
    if arguments.json:
        terminal.json(status)
    else:
        _print(status, terminal)
    failed = [row for row in status.get("test", []) if not row["works"]]
    return 1 if failed else 0


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _test(
    accelerator: Accelerator, backends: list[dict[str, Any]], terminal: Terminal
) -> list[dict[str, Any]]:
    """Ask everything that should answer; a row for each that was asked."""
    from api_backends import create_api_backend
    from hardware import detect_devices

    usable = {device.id for device in detect_devices() if device.available}
    with terminal.working("running a sentence on every device"):
        tested = accelerator.test_hardware()
    rows = [
        {"what": name, "works": result["works"], "reason": result["reason"]}
        for name, result in tested.items()
        if name in usable
    ]
    for each in backends:
        if each["ready"]:
            with (
                terminal.working(f"asking {each['name']}"),
                create_api_backend(each["name"]) as backend,
            ):
                works = backend.test_endpoint()
            reason = "" if works else "it did not answer, or refused the key"
            rows.append({"what": each["name"], "works": works, "reason": reason})
    return rows


def _print(status: dict[str, Any], terminal: Terminal) -> None:
    terminal.line(
        terminal.style("ipfs-accelerate", "bold")
        + f" {status['version']} · Python {status['python']} · "
        + (", ".join(f"{name} {v}" for name, v in status["packages"].items() if v) or "no packages")
    )
    terminal.line(terminal.style(f"converted models are kept in {status['cache']}", "dim"))
    terminal.heading("Devices")
    device_table(status["devices"], terminal)
    terminal.heading("Back ends")
    backend_lines(status["backends"], terminal)
    if "test" in status:
        terminal.heading("Asked just now")
        table = [
            [row["what"], terminal.style("answers", "green") if row["works"] else row["reason"]]
            for row in status["test"]
        ]
        terminal.table(["what", "result"], table)
