"""What the tests of the back ends share: a clock in the test's hands, and back ends that close."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
for folder in (HERE.parents[1], HERE.parent, HERE):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from fake_clock import FakeClock  # noqa: E402

from api_backends.openai_api import OpenAI  # noqa: E402
from api_backends.sample_backend import SampleBackend  # noqa: E402

KEY = "sk-test-0123456789abcdef"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch, tmp_path):
    """No key, proxy, .env or credentials file of whoever runs the tests."""
    for name in (
        "OPENAI_API_KEY", "OPENAI_API_URL", "OPENAI_MODEL", "SAMPLE_API_KEY", "SAMPLE_API_URL",
        "OPEA_API_KEY", "OPEA_API_URL", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy",
        "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return home


@pytest.fixture
def clock():
    """Time that stands still until the test moves it."""
    return FakeClock()


def our_threads():
    """Return the library's threads that are alive."""
    return [t for t in threading.enumerate() if t.name.startswith("ipfs-accelerate")]


@pytest.fixture(autouse=True)
def no_thread_left():
    """Every test ends with as many threads of ours as it began with."""
    before = set(our_threads())
    yield
    deadline = time.monotonic() + 10
    for thread in set(our_threads()) - before:
        thread.join(max(0.0, deadline - time.monotonic()))
    left = set(our_threads()) - before
    assert not left, left


@pytest.fixture
def make():
    """`make(url, **metadata)`: a sample back end that is closed at the end of the test."""
    made = []

    def build(url=None, *, kind=SampleBackend, resources=None, **metadata):
        if url is not None:
            metadata.setdefault("api_base", url)
        if kind is OpenAI and not {"openai_api_key", "api_key", "api_keys"} & metadata.keys():
            metadata["openai_api_key"] = KEY
        backend = kind(resources=resources, metadata=metadata)
        made.append(backend)
        return backend

    yield build
    for backend in made:
        backend.close()
