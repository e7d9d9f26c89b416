"""What all tests share: the import path, the seed of a run, and the servers that tests talk to."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

HERE = Path(__file__).resolve().parent
# The packages from the checkout, installed or not, and `servers` beside the scripts in test/.
for folder in (HERE, HERE.parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from servers import llama_server as llama  # noqa: E402
from servers import openai_standin as standin  # noqa: E402
from servers import real  # noqa: E402
from servers import transformers_serve as transformers_part  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

hypothesis.settings.register_profile("project", deadline=None, derandomize=False, print_blob=True)
hypothesis.settings.load_profile("project")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of this run, unless --hypothesis-seed gives it."""
    if config.getoption("hypothesis_seed", None) is None:
        config.option.hypothesis_seed = str(random.SystemRandom().randrange(2**32))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Print the seed: quiet runs have no header."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        seed_given = session.config.getoption("hypothesis_seed")
        reporter.write_line(f"seed {seed_given} (again with --hypothesis-seed={seed_given})")


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run, for tests that draw numbers by themselves."""
    return int(request.config.getoption("hypothesis_seed"))


@pytest.fixture(scope="session")
def require_real() -> Callable[[str, object, str], None]:
    """`require_real(part, present, why)`: skip, or fail where real parts are required."""
    return real.require_real


@pytest.fixture(scope="session")
def openai_standin() -> Iterator[standin.StandIn]:
    """The OpenAI-compatible stand-in, without a key: `.url` ends without /v1."""
    with standin.StandIn() as server:
        yield server


@pytest.fixture(scope="session")
def keyed_openai_standin() -> Iterator[standin.StandIn]:
    """The OpenAI-compatible stand-in that accepts `.key` alone."""
    with standin.StandIn(key="sk-standin-0123456789") as server:
        yield server


@pytest.fixture(scope="session")
def llama_server() -> Iterator[llama.LlamaServer]:
    """A real llama-server with the reciting model: `.url`, `.key`, `.model`, `.conversations`."""
    binary, model = llama.binary(), llama.reciting_model()
    real.require_real("llama-server", binary, "run .ci/build_llama_server.sh (8 minutes, once)")
    real.require_real("reciting model", model, "run test/servers/reciting_model.py (30 s, once)")
    with llama.LlamaServer(binary, model, key="llama-key-0123456789") as server:
        yield server


@pytest.fixture(scope="session")
def transformers_serve() -> Iterator[transformers_part.TransformersServe]:
    """A real `transformers serve` with the reciting model: `.url`, `.model`, `.conversations`."""
    model = llama.reciting_model()
    why_not = transformers_part.why_not()
    real.require_real("transformers serve", not why_not, why_not)
    real.require_real("reciting model", model, "run test/servers/reciting_model.py (30 s, once)")
    with transformers_part.TransformersServe(model) as server:
        yield server
