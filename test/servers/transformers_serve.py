"""A real `transformers serve` with the model that recites: another dialect of the same API."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

from .llama_server import conversations
from .process import ServerProcess, free_port

NEEDED = ("torch", "transformers", "fastapi", "uvicorn", "openai", "pydantic")


def why_not() -> str:
    """Return what is missing to run it, or ""."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    return f"pip install 'transformers[serving]' (missing: {', '.join(missing)})" * bool(missing)


class TransformersServe(ServerProcess):
    """`transformers serve` on 127.0.0.1, the model loaded; a context manager.

    `url` is the address without /v1, `model` the name to ask for, `conversations` what it must
    say. Its dialect: no `[DONE]`, usage always on the last chunk, and the model's stop word may be
    part of the text.
    """

    def __init__(self, model: Path) -> None:
        self.model = str(model)
        self.conversations = conversations(model)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._home = tempfile.TemporaryDirectory(prefix="transformers-serve.")
        Path(self._home.name, "hub").mkdir()
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", self.model]
        env = {"HF_HUB_OFFLINE": "1", "HF_HOME": self._home.name, "PYTHONUNBUFFERED": "1"}
        super().__init__(command, ready=r"Uvicorn running on", timeout=120, env=env)

    def stop(self, timeout: float = 10.0) -> None:
        """End the program, and remove its cache."""
        super().stop(timeout)
        self._home.cleanup()
