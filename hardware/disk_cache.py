"""What is kept on disk between processes: checksums of weights, and converted models.

Everything is written beside its place and renamed into it, so that processes that start at the
same time see either nothing or all of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cache_folder", "file_sha256", "make_folder_once"]

_BLOCK = 1 << 20


def cache_folder() -> Path:
    """Return where things are kept: IPFS_ACCELERATE_CACHE, or ~/.cache/ipfs_accelerate."""
    named = os.environ.get("IPFS_ACCELERATE_CACHE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "ipfs_accelerate"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, read again only if the file has changed.

    Changed means another size or modification time (nanoseconds) than at the last reading.
    """
    path = path.resolve()
    stat = path.stat()
    mark = [str(path), stat.st_size, stat.st_mtime_ns]
    name = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    kept = cache_folder() / "checksums" / f"{name}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        data = json.loads(kept.read_text(encoding="utf-8"))
        if data["file"] == mark:
            return str(data["sha256"])
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    found = digest.hexdigest()
    # A cache that can't be written (a read-only home) costs a reading next time, nothing else.
    with contextlib.suppress(OSError):
        _write_file(kept, json.dumps({"file": mark, "sha256": found}))
    return found


def _write_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def make_folder_once(target: Path, fill: Callable[[Path], None]) -> Path:
    """Return `target`, filled by `fill(folder)` if it isn't there yet.

    `fill` writes into a new folder that is renamed when it is complete. Where two processes fill
    at the same time, the first to finish wins and the other's work is thrown away.
    """
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        fill(temporary)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
