"""A real llama-server (llama.cpp) with the model that recites."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from . import reciting_model as reciting
from .process import ServerProcess, free_port
from .real import cache_folder

BINARY_VARIABLE = "IPFS_ACCELERATE_LLAMA_SERVER"


def binary() -> Path | None:
    """Return llama-server: from the environment, the cache (newest first), or PATH."""
    named = os.environ.get(BINARY_VARIABLE)
    cached = sorted(cache_folder().glob("llama-server-*/llama-server"), reverse=True)
    found = named or (cached[0] if cached else None) or shutil.which("llama-server")
    return Path(found) if found and os.access(found, os.X_OK) else None


def reciting_model() -> Path | None:
    """Return the folder of the reciting model, or None where it has not been built."""
    folder = reciting.folder()
    return folder if (folder / reciting.CONVERSATIONS_FILE).is_file() else None


def conversations(model: Path) -> dict[str, dict[str, Any]]:
    """Return what the model knows, by name: messages, tools, content, tool_call, tokens."""
    known = json.loads((model / reciting.CONVERSATIONS_FILE).read_text(encoding="utf-8"))
    return {item["name"]: item for item in known}


class LlamaServer(ServerProcess):
    """llama-server on 127.0.0.1, ready to answer; a context manager.

    Args:
        program: The binary.
        model: Folder of the reciting model.
        key: API key that it asks for; none if None.
        embeddings: Serve embeddings (mean pooling, 128 dimensions) instead of chat.

    `url` is the address without /v1, `model` the name that it serves, `conversations` what it
    must say. Two requests run at once; a third waits.
    """

    model = "reciting"

    def __init__(
        self, program: Path, model: Path, *, key: str | None = None, embeddings: bool = False
    ) -> None:
        self.key = key
        self.conversations = conversations(model)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [str(program), "-m", str(model / reciting.GGUF_FILE), "--alias", self.model]
        command += ["--host", "127.0.0.1", "--port", str(port), "-c", "4096", "-np", "2", "-t", "2"]
        command += ["--no-webui", "--offline", "--jinja", "--temp", "0", "--metrics"]
        command += ["--api-key", key] if key else []
        command += ["--embeddings", "--pooling", "mean"] if embeddings else []
        super().__init__(command, ready=r"listening on http", timeout=30)


def version(program: Path) -> str:
    """Return what the binary says about itself."""
    result = subprocess.run(
        [str(program), "--version"], capture_output=True, text=True, timeout=10, check=True
    )
    return (result.stdout + result.stderr).strip()
