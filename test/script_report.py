"""What the scripts in this folder share: checks with an outcome, a table of them, an exit code."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Check", "Report", "Skipped"]

OK, FAILED, SKIPPED = "ok", "FAILED", "skipped"


class Skipped(Exception):  # noqa: N818 - not an error
    """Raised by a check that can't be made here; its text says why."""


@dataclass(slots=True)
class Check:
    """The outcome of one check; `seconds` is how long it took."""

    name: str
    outcome: str
    detail: str
    seconds: float


class Report:
    """Runs checks and tells of them.

    Args:
        title: First line of the table.
        facts: What the JSON says beside the checks.
        verbose: Print each check as it ends.
    """

    def __init__(self, title: str, facts: dict[str, Any], *, verbose: bool = False) -> None:
        self.title = title
        self.facts = facts
        self.checks: list[Check] = []
        self._verbose = verbose

    def check(self, name: str, function: Callable[[], Any]) -> Any:
        """Run one check; what it returns is its detail, AssertionError and ApiError fail it."""
        started = time.perf_counter()
        result = None
        try:
            result = function()
            outcome, detail = OK, "" if result is None else str(result)
        except Skipped as why:
            outcome, detail = SKIPPED, str(why)
        except Exception as error:
            outcome, detail = FAILED, f"{type(error).__name__}: {error}"
        self.checks.append(Check(name, outcome, detail, time.perf_counter() - started))
        if self._verbose:
            print(self._line(self.checks[-1]), flush=True)
        return result

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(check.outcome != FAILED for check in self.checks)

    def _line(self, check: Check) -> str:
        detail = " ".join(check.detail.split())
        text = f"skipped: {detail}" if check.outcome == SKIPPED else detail
        mark = {OK: "ok     ", FAILED: "FAILED ", SKIPPED: "-      "}[check.outcome]
        return f"  {mark} {check.name:<28} {check.seconds * 1000:8.1f} ms  {text[:160]}"

    def print(self) -> None:
        """Print the table."""
        print(self.title)
        for check in self.checks:
            print(self._line(check))
        counts = {
            outcome: sum(check.outcome == outcome for check in self.checks)
            for outcome in (OK, FAILED, SKIPPED)
        }
        print(f"{counts[OK]} ok, {counts[FAILED]} failed, {counts[SKIPPED]} skipped")

    def write(self, path: str | None) -> None:
        """Write everything as JSON, if there is a path."""
        if path:
            data = {**self.facts, "ok": self.ok, "checks": [asdict(each) for each in self.checks]}
            Path(path).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
