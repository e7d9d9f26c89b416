"""What a person or a pipe gets to see: results on stdout, everything else on stderr.

Colours and moving bars appear on a terminal alone, never with NO_COLOR (https://no-color.org) or
TERM=dumb. What came from files and servers can't move the cursor: control characters are removed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

__all__ = ["Progress", "Terminal", "display_width", "shortened", "without_controls"]

WIDEST = 120
STYLES = {"bold": "1", "dim": "2", "green": "32", "yellow": "33", "cyan": "36", "hit": "1;33"}
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_CODES = re.compile(r"\x1b\[[0-9;]*m")

Progress = Callable[[int, int], None]
"""Called with (done, in all)."""


def without_controls(text: str) -> str:
    """Return a text without what could drive a terminal; line ends and tabs stay."""
    return _CONTROLS.sub("", text)


def display_width(text: str) -> int:
    """Return the columns that a text takes: colour codes none, CJK two, combining marks none."""
    plain = _CODES.sub("", text)
    if plain.isascii():
        return len(plain)
    return sum(_columns(character) for character in plain)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shortened(text: str, width: int) -> str:
    """Return a text that fits `width` columns, its end cut where it doesn't."""
    if display_width(text) <= width:
        return text
    kept, used = [], 1
    for character in text:
        used += _columns(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "…"


class Terminal:
    """Where the commands write to.

    Args:
        out: For results; `sys.stdout` if None.
        err: For progress and messages; `sys.stderr` if None.
        environ: Environment variables: `NO_COLOR`, `TERM`, `COLUMNS`.
    """

    def __init__(
        self,
        out: TextIO | None = None,
        err: TextIO | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.out = sys.stdout if out is None else out
        self.err = sys.stderr if err is None else err
        environ = os.environ if environ is None else environ
        plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        self.out_is_tty = self.out.isatty()
        self.err_is_tty = self.err.isatty()
        self.colours = self.out_is_tty and not plain
        self.moves = self.err_is_tty and environ.get("TERM") != "dumb"
        self.width = max(40, min(shutil.get_terminal_size((80, 24)).columns, WIDEST))
        self._printed = False
        self.glyphs = _can_encode(self.out, "█░·…µ")

    # -- results --------------------------------------------------------------------------------

    def line(self, text: str = "") -> None:
        """Print a line of results."""
        if not self.glyphs:
            text = _in_ascii(text)
        self.out.write(text + "\n")
        self._printed = True

    def write(self, text: str) -> None:
        """Print a piece of an answer at once."""
        self.out.write(text)
        self.out.flush()

    def json(self, data: Any) -> None:
        """Print data as JSON: indented, but number lists on one line."""
        text = json.dumps(data, ensure_ascii=not _can_encode(self.out, "é"), indent=2)
        numbers = re.compile(r"\[\s+(-?\d[^\[\]{}\"]*?)\s+\]")
        self.out.write(numbers.sub(lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", text) + "\n")

    def style(self, text: str, *names: str) -> str:
        """Return a text in colour, where there are colours."""
        if not self.colours or not text:
            return text
        return f"\x1b[{';'.join(STYLES[name] for name in names)}m{text}\x1b[0m"

    def heading(self, text: str, beside: str = "") -> None:
        """Print the heading of a section."""
        if self._printed:
            self.line()
        self.line(self.style(text, "bold") + (f"  {self.style(beside, 'dim')}" if beside else ""))

    def wrapped(self, text: str, indent: str) -> list[str]:
        """Return a text as lines that fit the terminal."""
        return textwrap.wrap(
            without_controls(text),
            self.width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
        )

    def bar(self, share: float, width: int) -> str:
        """Return a bar that is filled by `share` (0 to 1)."""
        filled = round(max(0.0, min(share, 1.0)) * width)
        full, empty = ("█", "░") if self.glyphs else ("#", "-")
        return self.style(full * filled, "green") + self.style(empty * (width - filled), "dim")

    def table(
        self, headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
    ) -> None:
        """Print a table; its last column is wrapped where the terminal ends.

        Args:
            headers: Names of the columns.
            rows: Their cells.
            right: Columns that are aligned to the right.
        """
        widths = [
            max(display_width(row[index]) for row in (headers, *rows))
            for index in range(len(headers) - 1)
        ]
        start = sum(widths) + 2 * len(widths) + 2
        room = max(self.width - start, 16)
        for number, row in enumerate((headers, *rows)):
            cells = [_padded(cell, widths[i], i in right) for i, cell in enumerate(row[:-1])]
            last = [row[-1]]
            if display_width(row[-1]) > room:
                last = textwrap.wrap(_CODES.sub("", row[-1]), room, break_on_hyphens=False)
            if len(headers) - 1 in right:
                last = [last[0].rjust(max(display_width(r[-1]) for r in (headers, *rows)))]
            if number == 0:
                cells, last = [self.style(c, "dim") for c in cells], [self.style(last[0], "dim")]
            self.line(("  " + "  ".join([*cells, last[0]])).rstrip())
            for more in last[1:]:
                self.line(" " * start + more)

    # -- progress and messages ------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Print a line for the person, not for the pipe."""
        self.out.flush()
        self.err.write(text + "\n")
        self.err.flush()

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Show that something of unknown length is going on, and since when."""
        if not self.moves:
            self.note(f"{what} ...")
            yield
            return
        done = threading.Event()
        began = time.monotonic()

        def show() -> None:
            while True:
                self._transient(f"{what}  {time.monotonic() - began:.0f} s")
                if done.wait(0.5):
                    return

        thread = threading.Thread(target=show, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self._transient("")

    @contextmanager
    def progress(self, what: str, unit: str) -> Iterator[Progress]:
        """Show a bar while something of known length is going on; call what is yielded."""
        if not self.moves:
            self.note(f"{what} ...")
            yield _ignore
            return
        bar = _tqdm_bar(what, unit, self.err, self.width) or self._plain_bar(what)
        try:
            yield bar
        finally:
            close = getattr(bar, "close", None)
            if close is not None:
                close()
            self._transient("")

    def _plain_bar(self, what: str) -> Progress:
        def show(done: int, total: int) -> None:
            share = done / max(total, 1)
            self._transient(f"{what} [{'#' * round(share * 20):20}] {done}/{total}")

        return show

    def _transient(self, text: str) -> None:
        self.err.write("\r\x1b[K" + shortened(text, self.width - 1))
        self.err.flush()


class _TqdmBar:
    """A tqdm bar behind the (done, in all) interface."""

    def __init__(self, tqdm: Any, what: str, unit: str, err: TextIO, width: int) -> None:
        self._tqdm = tqdm
        self._options: dict[str, Any] = {
            "desc": what,
            "unit": f" {unit}",
            "file": err,
            "leave": False,
            "ncols": width - 1,
        }
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = self._tqdm(total=total, **self._options)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _tqdm_bar(what: str, unit: str, err: TextIO, width: int) -> Progress | None:
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return _TqdmBar(tqdm, what, unit, err, width)


def _padded(cell: str, width: int, right: bool) -> str:
    space = " " * (width - display_width(cell))
    return space + cell if right else cell + space


def _can_encode(stream: TextIO, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _ignore(_done: int, _total: int) -> None:
    """Show no progress."""


_ASCII = str.maketrans("·…µ", "-~u")


def _in_ascii(text: str) -> str:
    return text.translate(_ASCII)
