"""Skipping what needs a real part that is absent, or failing where it was promised."""

import importlib.util
import os

import pytest


def require_real(part, present, why):
    """Skip where a real part is absent, or fail where it was promised to be there."""
    if present:
        return
    if os.environ.get("IPFS_ACCELERATE_REQUIRE_REAL") == "1":
        pytest.fail(f"{part} is required here: {why}")
    pytest.skip(f"{part}: {why}")


def require_packages(*names):
    for name in names:
        found = importlib.util.find_spec(name) is not None
        require_real(name, found, f"the package {name} is not installed")
