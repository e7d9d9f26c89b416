"""Wrong usage: what can be told from the command line alone, whatever the machine. Exit code 2."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

__all__ = ["UsageError", "check_backend", "check_device", "check_url", "read_texts"]


class UsageError(Exception):
    """The command line can't be meant as it is; the message says what to give instead."""


def check_device(name: str | None) -> str | None:
    """Return a device's name if it has the form of one; whether it is here is found out later."""
    from ..router import DEVICE_KINDS

    if name is not None and name.partition(":")[0].strip().lower() not in DEVICE_KINDS:
        raise UsageError(
            f"--device: there is no device {name!r}; devices are cpu, cuda, cuda:1, openvino, "
            "openvino:GPU; `ipfs-accelerate devices` shows those of this machine"
        )
    return name


def check_backend(name: str | None) -> str | None:
    """Return the registered name of a back end."""
    from api_backends import registry

    if name is None:
        return None
    name = registry.ALIASES.get(name, name)
    if name not in registry.get_available_backends():
        from api_backends.settings import suggestion

        near = suggestion(name, registry.get_available_backends())
        raise UsageError(f"--backend: there is no back end {name!r}{near}")
    return name


def check_url(url: str | None) -> str | None:
    """Return a URL if it has the form of one."""
    if url is not None and not url.startswith(("http://", "https://")):
        raise UsageError(f"--url: {url!r} is no URL; it begins with http:// or https://")
    return url


def read_texts(given: list[str], what: str) -> list[str]:
    """Return the texts of the command line; `-` alone reads one a line from standard input."""
    if given == ["-"]:
        given = [line for line in read_stdin().splitlines() if line.strip()]
        if not given:
            raise UsageError(f"{what}: standard input is empty; it is one text a line")
    for text in given:
        check_text(text, what)
    return given


def read_stdin() -> str:
    """Return all of standard input.

    Raises:
        UsageError: It isn't UTF-8.
    """
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not {error.encoding} text") from error


def check_text(text: str, what: str) -> str:
    """Return a text that says something and can be sent."""
    if not text.strip():
        raise UsageError(f"{what}: the text is empty")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"{what}: the text is not valid UTF-8")
    return text


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option that every command with results has."""
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
