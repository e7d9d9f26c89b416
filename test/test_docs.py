"""The pages in docs/ say what is so, and their code runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from feature_table import PAGE, table

ROOT = Path(__file__).resolve().parents[1]


def blocks(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_feature_table_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == table(), "run python test/feature_table.py"


def test_a_new_back_end_is_at_most_fifteen_lines(openai_standin: Any) -> None:
    page = blocks("new_backend.md")
    made, used = page[0], page[1]
    body = made[made.index("class ") :].rstrip().splitlines()
    assert len(body) <= 15
    space: dict[str, Any] = {}
    exec(compile(made, "new_backend.md", "exec"), space)
    space["URL"] = openai_standin.url
    exec(compile(used, "new_backend.md", "exec"), space)
    assert space["answer"].backend == "acme"
    assert space["answer"].text


@pytest.mark.parametrize("page", ["openai.md", "openai_mini.md", "groq.md"])
def test_the_code_of_a_guide_is_python(page: str) -> None:
    found = blocks(page)
    assert len(found) >= 3
    for block in found:
        compile(block, page, "exec", flags=__import__("ast").PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("name", ["openai_chat.py", "openai_mini_chat.py", "groq_chat.py"])
def test_an_example_runs(name: str, openai_standin: Any) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OPENAI_API_KEY": "sk-example-0123456789",
        "GROQ_API_KEY": "gsk_example_0123456789",
        "OPENAI_API_URL": openai_standin.url,
        "GROQ_API_URL": openai_standin.url,
        "OPENAI_MODEL": openai_standin.models[0],
        "OPENAI_MINI_API_URL": openai_standin.url,
        "OPENAI_MINI_MODEL": openai_standin.models[0],
        "GROQ_MODEL": openai_standin.models[0],
    }
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "tokens" in ran.stdout
