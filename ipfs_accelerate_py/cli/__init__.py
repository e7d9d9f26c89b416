"""The command line, `ipfs-accelerate`: one module a command, nothing third-party until it runs."""

from __future__ import annotations

from .command_line import main

__all__ = ["main"]
