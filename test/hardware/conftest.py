import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, Path(__file__).resolve().parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


from real_parts import require_packages, require_real  # noqa: E402 (found by the lines above)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Keep what tests convert and hash away from the user's own cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("IPFS_ACCELERATE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield Path(os.environ["IPFS_ACCELERATE_CACHE"])
    patch.undo()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Return a function that builds a small model of a type, once a session."""
    require_packages("torch", "transformers", "safetensors", "tokenizers")
    import tiny_models

    base = tmp_path_factory.mktemp("models")

    def build(model_type="bert", pooling=None):
        folder = base / f"{model_type}-{pooling}"
        if not folder.exists():
            tiny_models.build_tiny_model(model_type, folder, pooling=pooling)
        return folder

    return build


@pytest.fixture(scope="session")
def minilm(cache):
    """Return the folder of the real all-MiniLM-L6-v2."""
    from api_backends.errors import ApiError
    from hardware.checkpoints import find_checkpoint

    try:
        folder = find_checkpoint("all-MiniLM-L6-v2", local_files_only=True).folder
    except ApiError as error:
        require_real("all-MiniLM-L6-v2", False, str(error))
    return folder


@pytest.fixture
def python():
    """Return a function that runs code in a new Python and returns what it printed."""

    def run(code, *arguments, timeout=120, **environment):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
