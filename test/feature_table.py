"""Write docs/features.md: what each back end can do, from its capability flags.

python test/feature_table.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from api_backends import get_available_backends, get_backend  # noqa: E402
from api_backends.capabilities import Capabilities  # noqa: E402
from api_backends.registry import is_built  # noqa: E402

PAGE = ROOT / "docs" / "features.md"


def table() -> str:
    """Return the page: one row a feature, one column a back end."""
    built = [name for name in get_available_backends() if is_built(name)]
    lines = [
        "# What each back end can do",
        "",
        "Made from the `capabilities` of the classes by `python test/feature_table.py`.",
        "",
        "| | " + " | ".join(f"`{name}`" for name in built) + " |",
        "|---|" + "---|" * len(built),
    ]
    for field in fields(Capabilities):
        marks = ["✓" if getattr(get_backend(n).capabilities, field.name) else "" for n in built]
        if any(marks):
            lines.append(f"| {field.name.replace('_', ' ')} | " + " | ".join(marks) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page, or say whether it is current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is current")
    if parser.parse_args().check:
        current = PAGE.read_text(encoding="utf-8") == table()
        print("current" if current else "out of date: python test/feature_table.py")
        return 0 if current else 1
    PAGE.write_text(table(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
