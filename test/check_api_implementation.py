"""Check that every back end of this version keeps the contract: [-v] [-o FILE].

Looks at classes, not at servers: names, settings, capability flags against methods, async twins,
docstrings. Back ends that this version does not hold are listed as skipped.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from script_report import Report, Skipped  # noqa: E402

from api_backends import get_available_backends, get_backend  # noqa: E402
from api_backends.base import BaseApiBackend  # noqa: E402
from api_backends.registry import is_built  # noqa: E402

METHODS = (
    "chat", "stream_chat", "achat", "astream_chat", "submit", "embed", "aembed",
    "make_post_request", "make_stream_request", "create_endpoint_handler", "test_endpoint",
    "is_compatible_model", "get_default_model", "get_api_key", "list_models", "create_endpoint",
    "get_endpoint", "update_endpoint", "remove_endpoint", "list_endpoints",
    "make_request_with_endpoint", "get_stats", "reset_stats", "close",
)  # fmt: skip

LEGACY = (
    "max_concurrent_requests", "queue_size", "request_queue", "queue_lock", "active_requests",
    "queue_processor", "max_retries", "initial_retry_delay", "backoff_factor", "max_retry_delay",
    "circuit_state",
)  # fmt: skip

FEATURES = {
    "chat": "chat_body",
    "stream": "stream_reader",
    "embeddings": "embeddings_body",
    "list_models": "read_models",
}
"""The translation that a capability flag promises."""


def examine(name: str) -> str:
    """Check one back end; return what it has."""
    if not is_built(name):
        raise Skipped("not in this version")
    kind = get_backend(name)
    assert kind.name == name, f"its name attribute is {kind.name!r}"
    assert kind.__doc__, "no docstring"
    assert kind.key_names or not kind.needs_key, "needs a key that has no name"
    for method in METHODS:
        assert callable(getattr(kind, method, None)), f"no {method}()"
        assert inspect.getdoc(getattr(kind, method)), f"{method}() has no docstring"
    for attribute in LEGACY:
        assert isinstance(getattr(kind, attribute, None), property), f"no {attribute}"
    for feature, translation in FEATURES.items():
        own = getattr(kind, translation) is not getattr(BaseApiBackend, translation)
        assert getattr(kind.capabilities, feature) == own, f"{feature} flag and {translation}()"
    backend: Any = kind()
    assert backend.queue_processor is None, "a thread was started by the constructor"
    backend.close()
    return ", ".join(kind.capabilities.names())


def run(*, verbose: bool = False) -> Report:
    """Check all of them."""
    report = Report("Back ends and the contract", {}, verbose=verbose)
    for name in get_available_backends():
        report.check(name, lambda name=name: examine(name))
    return report


def main(arguments: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-v", "--verbose", action="store_true", help="print each check as it ends")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the outcome as JSON")
    given = parser.parse_args(arguments)
    report = run(verbose=given.verbose)
    report.print()
    report.write(given.output)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
