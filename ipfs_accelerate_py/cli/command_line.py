"""Reading the command line, running one command, and telling in one line what went wrong."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from .terminal import Terminal, without_controls
from .usage import UsageError

__all__ = ["main"]

PROGRAM = "ipfs-accelerate"
COMMANDS = {
    "demo": "search a folder of text by meaning, on every device of this machine",
    "chat": "ask a model: an API, or a server of yours",
    "embed": "turn texts into vectors, on this machine or behind an API",
    "models": "list the models that run here and those that back ends offer",
    "devices": "list the devices of this machine",
    "backends": "list the back ends and what each still needs",
    "status": "tell what is ready, in short",
    "bench": "measure this machine: embeddings a second, cost of a call",
}
FAILED, WRONG_USAGE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Raise what `main` prints."""
        raise UsageError(f"{_readable(message)} (see {self.prog} --help)")


def _readable(message: str) -> str:
    """Turn argparse's complaint about an unknown command into one that suggests the right one."""
    unknown = re.match(r"argument COMMAND: invalid choice: '(.*?)' \(", message, re.DOTALL)
    if unknown is None:
        return message
    from api_backends.settings import suggestion

    return f"there is no command {unknown[1]!r}{suggestion(unknown[1], COMMANDS)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Its arguments; those of the process if None.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 141 nobody reads.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    debug = "--debug" in arguments
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except UsageError as error:
        return _told(error, WRONG_USAGE, debug=debug)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            sys.stderr.write("\n" if sys.stderr.isatty() else "")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has seen enough; the flush at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 (the outermost place: whatever it is, one line)
        return _told(error, FAILED, debug=debug)
    return code


def _run(arguments: list[str]) -> int:
    parser = _parser(arguments)
    try:
        chosen = parser.parse_args(arguments)
    except SystemExit as asked:  # --help and --version
        return int(asked.code or 0)
    if chosen.command is None:
        parser.print_help()
        return 0
    module = import_module(f".{chosen.command}", __package__)
    return int(module.run(chosen, Terminal()))


def _parser(arguments: list[str]) -> Parser:
    from .. import __version__

    parser = Parser(
        prog=PROGRAM,
        description="Run this model on this input, whatever runs it: a device here, a server of "
        "yours, an API.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage. Keys come from the environment, "
        ".env or ~/.ipfs_api_credentials, never from the command line.",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, about in COMMANDS.items():
        command = commands.add_parser(
            name, help=about, description=f"{about[0].upper()}{about[1:]}."
        )
        command.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show where an error comes from",
        )
        if name in arguments:  # only the command that may be meant says what it takes
            import_module(f".{name}", __package__).add_arguments(command)
    return parser


def _told(error: BaseException, code: int, *, debug: bool) -> int:
    from api_backends.errors import ApiError

    if debug and code != WRONG_USAGE:
        text = "".join(traceback.format_exception(error))
        sys.stderr.write(_without_keys(text))
    message = " ".join(str(error).split())
    if not isinstance(error, (ApiError, UsageError, OSError)):
        message = f"{type(error).__name__}: {message}; this is a mistake in {PROGRAM}" + (
            "" if debug else ", --debug shows where"
        )
    sys.stdout.flush()
    sys.stderr.write(f"{PROGRAM}: {_without_keys(without_controls(message))}\n")
    return code


def _without_keys(text: str) -> str:
    """Hide the keys of the environment, should any have got into a message of somebody else's."""
    from api_backends.engine.credentials import redact

    names = ("KEY", "TOKEN", "SECRET", "PASSWORD")
    keys = [v for n, v in os.environ.items() if n.upper().endswith(names) and len(v) >= 8]
    return str(redact(text, keys))
