"""The guide's code and the example run, against the stand-in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.gemini_standin import StandIn

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "gemini.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "cat.png").write_bytes(PNG)
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7 report")
    monkeypatch.chdir(tmp_path)
    with StandIn() as server:
        monkeypatch.setenv("GEMINI_API_URL", server.url)
        monkeypatch.setenv("GEMINI_API_KEY", "a-key-for-the-stand-in")
        yield server.url


@pytest.mark.parametrize("place", range(len(BLOCKS)))
def test_the_guides_code_runs(place: int, standin: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(BLOCKS[place], f"docs/gemini.md block {place}", "exec"), {"__name__": "guide"})
    assert capsys.readouterr().out.strip()


def test_there_is_code_in_the_guide() -> None:
    assert len(BLOCKS) >= 5


def test_the_example_runs(standin: str) -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "gemini.py"), "How are you?", "cat.png"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "(stand-in) How are you?" in ran.stdout
    assert "(stand-in) Describe this" in ran.stdout


def test_the_example_says_what_is_missing() -> None:
    environment = {k: v for k, v in os.environ.items() if "GEMINI" not in k and "GOOGLE" not in k}
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "gemini.py")],
        env={**environment, "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert "GEMINI_API_KEY" in ran.stderr
    assert "Traceback" not in ran.stderr
