"""Real parts of tests: servers, weights, recordings. Absent, they skip; in CI, they fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REQUIRED = "IPFS_ACCELERATE_REQUIRE_REAL"
CACHE = "IPFS_ACCELERATE_CI_CACHE"


def require_real(part: str, present: object, why: str) -> None:
    """Skip the test where a real part is absent; fail it where real parts are required.

    Args:
        part: What is needed ("llama-server").
        present: Whether it is there.
        why: What is missing and how to get it.
    """
    if present:
        return
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{part} is required ({REQUIRED}=1) but absent: {why}", pytrace=False)
    pytest.skip(f"{part}: {why}")


def cache_folder() -> Path:
    """Return the folder where built parts are kept between runs (it may not exist yet)."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "ipfs_accelerate_ci")
