"""Documents to passages: pieces of text that a model takes whole and a person can find again."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Document", "Passage", "Unit", "read_documents", "split_document"]

SUFFIXES = (".adoc", ".markdown", ".md", ".mdx", ".org", ".rst", ".tex", ".text", ".txt")
NAMES = ("authors", "changelog", "changes", "contributing", "copying", "license", "news", "readme")
"""Names without a suffix that hold text."""

SKIPPED = ("__pycache__", "build", "dist", "node_modules", "site-packages", "venv")
LARGEST = 4_000_000  # bytes; what is longer is data, hardly prose

MOST_TOKENS = 150
"""Estimated tokens of a passage: with its heading well under the 256 that small encoders take."""
FEW_TOKENS = 60
"""Paragraphs of a section are joined until a passage has at least so many."""
ITEM_TOKENS = 20
"""Items of a list with at least so many stand alone: each says something of its own."""
FEWEST_WORDS = 3
"""What is shorter says nothing by itself: rulers, heads of empty tables."""

_WORD = re.compile(r"[A-Za-z0-9]+|\w|[^\w\s]")
_HEADING = re.compile(r" {0,3}(#{1,6})\s+(.+?)\s*#*\s*$")
_UNDERLINE = re.compile(r"([=\-~^*\"+#])\1{2,}\s*$")
_FENCE = re.compile(r"\s*(```+|~~~+)")
_ITEM = re.compile(r"\s*([-*+•]|\d+[.)])\s+")
_TABLE_RULE = re.compile(r"\s*\|?[\s:|+=-]+\|?\s*$")
_LINK = re.compile(r"!?\[([^\]]+)\]\([^)\s]*\)")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[`*]*[A-Z0-9`*\u00c0-\uffff])")


@dataclass(frozen=True, slots=True)
class Document:
    """A text and what it is called: a path within the folder, with `/`."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Unit:
    """A sentence, a row of a table or a line of code, and the line on which it begins (from 1).

    `item` is true for what begins an item of a list, and for rows.
    """

    line: int
    text: str
    code: bool = False
    item: bool = False


@dataclass(frozen=True, slots=True)
class Passage:
    """Some units of a document that stand together under a heading ("" where there is none)."""

    file: str
    heading: str
    units: tuple[Unit, ...]

    @property
    def line(self) -> int:
        """The line on which it begins, from 1."""
        return self.units[0].line

    @property
    def text(self) -> str:
        """Its text: sentences on one line, code on its own lines."""
        parts: list[str] = []
        for before, unit in zip((None, *self.units), self.units, strict=False):
            if before is not None:
                parts.append("\n" if unit.code or before.code else " ")
            parts.append(unit.text)
        return "".join(parts)

    @property
    def text_with_heading(self) -> str:
        """What is embedded: a passage means more together with its heading."""
        return f"{self.heading}\n{self.text}" if self.heading else self.text


def read_documents(root: Path) -> tuple[list[Document], list[str]]:
    """Read the texts of a folder and the folders below it, or one file.

    Args:
        root: A folder, or a file of any name.

    Returns:
        The documents in order of their names, and what was left out, with the reason.

    Raises:
        OSError: The folder or file can't be read.
    """
    documents, left_out = [], []
    for path in [root] if root.is_file() else _text_files(root):
        name = path.name if path == root else path.relative_to(root).as_posix()
        try:
            reason = "is longer than 4 MB" if path.stat().st_size > LARGEST else ""
            data = b"" if reason else path.read_bytes()
        except OSError as error:
            if path == root:
                raise
            reason, data = str(error.strerror or error), b""
        if b"\x00" in data:
            reason = "is not text"
        if reason:
            left_out.append(f"{name} {reason}")
        elif data.strip():
            documents.append(Document(name, data.decode("utf-8", "replace")))
    return documents, left_out


def _text_files(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        if error.filename == str(root):
            raise error

    for folder, folders, files in os.walk(root, onerror=refuse):
        folders[:] = sorted(n for n in folders if n not in SKIPPED and not n.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            is_text = path.suffix.lower() in SUFFIXES or name.lower() in NAMES
            if is_text and not name.startswith(".") and path.is_file():
                yield path


def split_document(document: Document) -> list[Passage]:
    """Return the passages of a document, in order; none crosses a heading."""
    passages: list[Passage] = []
    waiting: list[Unit] = []
    tokens = 0
    heading = ""

    def close() -> None:
        nonlocal tokens
        if sum(len(re.findall(r"\w+", unit.text)) for unit in waiting) >= FEWEST_WORDS:
            passages.append(Passage(document.name, heading, tuple(waiting)))
        waiting.clear()
        tokens = 0

    for block in _blocks(document.text):
        if isinstance(block, str):
            close()
            heading = block
            continue
        for unit in _fitting(block):
            cost = estimated_tokens(unit.text)
            if waiting and (tokens + cost > MOST_TOKENS or (unit.item and tokens >= ITEM_TOKENS)):
                close()
            waiting.append(unit)
            tokens += cost
        if tokens >= FEW_TOKENS:
            close()
    close()
    return passages


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a WordPiece tokenizer makes of a text, rather too many."""
    return sum(1 + (len(word) - 1) // 6 for word in _WORD.findall(text))


def _blocks(text: str) -> Iterator[str | list[Unit]]:
    """Yield headings as they stand (the path to them) and paragraphs as units."""
    lines = text.splitlines()
    path: list[tuple[int, str]] = []
    levels: dict[str, int] = {}
    paragraph: list[tuple[int, str]] = []
    fence = ""

    def named(level: int, title: str) -> str:
        path[:] = [each for each in path if each[0] < level]
        path.append((level, title.strip("`* ")))
        return " > ".join(name for _, name in path[-2:])

    for number, line in enumerate(lines, 1):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence):
                yield [Unit(n, each.rstrip(), code=True) for n, each in paragraph if each.strip()]
                fence, paragraph = "", []
            else:
                paragraph.append((number, line))
            continue
        heading = _HEADING.match(line)
        underline = _UNDERLINE.match(line)
        if mark or heading or not line.strip():
            yield _units(paragraph)
            paragraph = []
            fence = mark[1] if mark else ""
            if heading:
                yield named(len(heading[1]), heading[2])
        elif underline and len(paragraph) == 1:
            level = levels.setdefault(underline[1], len(levels) + 1)
            yield named(level, paragraph.pop()[1].strip())
        elif not underline and not ("|" in line and _TABLE_RULE.match(line)):
            paragraph.append((number, line))
    yield _units(paragraph)


def _units(paragraph: list[tuple[int, str]]) -> list[Unit]:
    """Return the sentences of a paragraph; items of lists and rows of tables one by one."""
    units: list[Unit] = []
    sentence: list[tuple[int, str]] = []
    item = False
    for number, line in paragraph:
        row = line.lstrip().startswith("|")
        if row or _ITEM.match(line):
            units += _sentences(sentence, item=item)
            sentence, item = [], not row
        if row:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            units.append(Unit(number, _plain(" | ".join(cells)), item=True))
        elif plain := _plain(line):
            sentence.append((number, plain))
    return units + _sentences(sentence, item=item)


def _plain(line: str) -> str:
    """Return a line of prose without the marks of lists, bold type and links."""
    mark = _ITEM.match(line)
    text = line[mark.end() :] if mark else line
    return _LINK.sub(r"\1", text).replace("**", "").strip()


def _sentences(lines: list[tuple[int, str]], *, item: bool) -> list[Unit]:
    if not lines:
        return []
    text = " ".join(line for _, line in lines)
    starts, position = [], 0
    for number, line in lines:
        starts.append((position, number))
        position += len(line) + 1
    units: list[Unit] = []
    begin = 0
    for end in [*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]:
        piece = text[begin:end].strip()
        if piece:
            first = max(number for at, number in starts if at <= begin)
            units.append(Unit(first, piece, item=item and not units))
        begin = end
    return units


def _fitting(units: Iterable[Unit]) -> Iterator[Unit]:
    """Cut units that alone are too long for a passage between their words."""
    for unit in units:
        if estimated_tokens(unit.text) <= MOST_TOKENS:
            yield unit
            continue
        piece: list[str] = []
        tokens = 0
        for word in _pieces(unit.text):
            cost = estimated_tokens(word)
            if piece and tokens + cost > MOST_TOKENS:
                yield Unit(unit.line, " ".join(piece), unit.code)
                piece, tokens = [], 0
            piece.append(word)
            tokens += cost
        yield Unit(unit.line, " ".join(piece), unit.code)


def _pieces(text: str) -> Iterator[str]:
    """Yield words; those without spaces for pages (other scripts, data) in parts."""
    for word in text.split():
        for start in range(0, len(word), MOST_TOKENS):
            yield word[start : start + MOST_TOKENS]
