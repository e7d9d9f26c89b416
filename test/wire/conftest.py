"""Recorded traffic of real providers: where it lies, and the oracles beside these tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))  # the oracles, one module a protocol


@pytest.fixture(scope="session")
def recorded_traffic() -> Path:
    """The folder of recorded exchanges; skips where there is none.

    Nothing installs recordings, so they are no part that a run can be required to have.
    """
    named = os.environ.get("IPFS_ACCELERATE_WIRE")
    folder = Path(named) if named else ROOT.parent / "shared" / "wire"
    if (folder / "openai.jsonl.gz").is_file():
        return folder
    pytest.skip(f"no recorded traffic in {folder}: set IPFS_ACCELERATE_WIRE to its folder")
