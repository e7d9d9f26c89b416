"""Try one back end: test_single_api.py NAME [-v] [-o FILE].

With a key (or a server's URL) configured, the calls are real. Without, a stand-in server is started
and asked instead, and every line says "(MOCK) stand-in". Exit 0 only if all that is claimed held.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from script_report import Report, Skipped  # noqa: E402

from api_backends import create_api_backend, get_available_backends, get_backend  # noqa: E402
from api_backends.errors import ApiError, ConfigurationError, NotFoundError  # noqa: E402
from api_backends.registry import is_built  # noqa: E402

REAL, MOCK = "(REAL)", "(MOCK) stand-in"

STANDINS = {"claude": "anthropic_standin", "gemini": "gemini_standin"}
"""Modules of test/servers by back end; all others speak OpenAI's protocol."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@contextmanager
def _opened(name: str) -> Iterator[tuple[Any, str]]:
    """Yield the back end and who will answer: the configured endpoint, or a stand-in."""
    kind = get_backend(name)
    if kind.is_configured():
        with create_api_backend(name) as backend:
            yield backend, REAL
        return
    models = tuple(m for m in (kind.default_model, kind.default_embedding_model) if m)
    module = STANDINS.get(name, "openai_standin")
    if not (HERE / "servers" / f"{module}.py").is_file():
        raise Skipped(f"no key for {name} and no stand-in server for its protocol")
    standin = importlib.import_module(f"servers.{module}")
    key = "standin-key-0123456789"
    arguments = {"key": key, **({"models": models} if models else {})}
    with standin.StandIn(**arguments) as server:
        metadata = {"api_base": server.url, "api_key": key}
        with create_api_backend(name, metadata=metadata) as backend:
            yield backend, MOCK


class Trial:
    """The checks of one back end."""

    def __init__(self, backend: Any, who: str) -> None:
        self.backend = backend
        self.who = who
        self.can = backend.capabilities
        self.model = backend.get_default_model()
        self.embedding_model = backend.default_embedding_model

    def _need(self, feature: str) -> None:
        if not getattr(self.can, feature):
            raise Skipped(f"{self.backend.name} has no {feature.replace('_', ' ')}")

    def endpoint(self) -> str:
        assert self.backend.test_endpoint() is True, "test_endpoint() is False"
        return f"{self.who} answers"

    def models(self) -> str:
        self._need("list_models")
        models = self.backend.list_models()
        if models:  # a server of one's own has no default: take what it serves
            self.model = self.model or models[0]["id"]
            self.embedding_model = self.embedding_model or models[-1]["id"]
        return f"{self.who} serves {len(models)}"

    def chat(self) -> str:
        self._need("chat")
        response = self.backend.chat("Say hello in one word.", self.model, max_tokens=200)
        assert response.content, "an empty answer"
        assert response.usage, "no token counts"
        return f"{self.who} {response.content[:60]!r}"

    def stream(self) -> str:
        self._need("stream")
        with self.backend.stream_chat("Count to five.", self.model, max_tokens=200) as stream:
            chunks = list(stream)
        assert chunks[-1].done, "no last chunk"
        assert "".join(chunk.delta for chunk in chunks) == stream.response().content
        return f"{self.who} {len(chunks)} chunks, {stream.response().content[:50]!r}"

    def achat(self) -> str:
        self._need("chat")
        response = asyncio.run(self.backend.achat("Say hello.", self.model, max_tokens=200))
        return f"{self.who} {response.content[:60]!r}"

    def tools(self) -> str:
        self._need("tools")
        prompt = "What is the weather in Paris? Use the tool."
        if self.who == MOCK:
            prompt = 'call get_weather {"city": "Paris"}'
        response = self.backend.chat(prompt, self.model, tools=[WEATHER], max_tokens=400)
        assert response.finish_reason == "tool_calls", response.finish_reason
        (call, *_) = response.tool_calls
        assert "paris" in str(call.parsed_arguments()).lower(), call
        return f"{self.who} {call.name}({call.arguments})"

    def embed(self) -> str:
        self._need("embeddings")
        if self.embedding_model is None:
            raise Skipped("no embedding model is known for this endpoint")
        response = self.backend.embed(["one text", "another"], self.embedding_model)
        assert response.embeddings.shape[0] == 2
        assert str(response.embeddings.dtype) == "float32"
        return f"{self.who} shape {response.embeddings.shape}"

    def unknown_model(self) -> str:
        self._need("chat")
        try:
            self.backend.chat("Hello", model="no-such-model-at-all", max_retries=0, max_tokens=20)
        except NotFoundError as error:
            return f"{self.who} {type(error).__name__}"
        except ApiError as error:
            return f"{self.who} {type(error).__name__} ({error.status_code})"
        raise Skipped("this endpoint takes any model name")

    def bad_input(self) -> str:
        self._need("chat")
        for messages, options in (([], {}), ("Hello", {"temperature": float("nan")})):
            try:
                self.backend.chat(messages, **options)
            except ApiError:
                continue
            raise AssertionError(f"{messages!r} {options!r} was taken")
        return "refused before sending"

    def places(self) -> str:
        assert self.backend.active_requests == 0, "a request still holds a place"
        stats = self.backend.get_stats()
        return f"{stats['successful_requests']} answered, {stats['failed_requests']} failed"

    NAMES = (
        "endpoint",
        "models",
        "chat",
        "stream",
        "achat",
        "tools",
        "embed",
        "unknown_model",
        "bad_input",
        "places",
    )


def run(name: str, *, verbose: bool = False) -> Report:
    """Try one back end; return what came of it."""
    if not is_built(name):
        report = Report(f"{name}: skipped: not in this version", {"backend": name})
        report.check("module", lambda: _skip("not in this version"))
        return report
    try:
        with _opened(name) as (backend, who):
            facts = {"backend": name, "implementation_type": who.split()[0], "answered_by": who}
            report = Report(f"{name}: {who} at {backend!r}", facts, verbose=verbose)
            trial = Trial(backend, who)
            for check in Trial.NAMES:
                report.check(check, getattr(trial, check))
    except Skipped as why:
        report = Report(f"{name}: skipped: {why}", {"backend": name})
    return report


def _skip(why: str) -> None:
    raise Skipped(why)


def main(arguments: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", metavar="NAME", help=", ".join(get_available_backends()))
    parser.add_argument("-v", "--verbose", action="store_true", help="print each check as it ends")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the outcome as JSON")
    given = parser.parse_args(arguments)
    try:
        name = get_backend(given.name).name if is_known(given.name) else given.name
    except ConfigurationError:
        name = given.name
    except ValueError as error:
        parser.error(str(error))
    report = run(name, verbose=given.verbose)
    report.print()
    report.write(given.output)
    return 0 if report.ok else 1


def is_known(name: str) -> bool:
    """Say whether there is such a back end, raising with the nearest name if not."""
    return bool(get_backend(name))


def test_back_ends_of_this_version_pass(monkeypatch, tmp_path):
    """Every back end that speaks to a stand-in passes its trial (pytest runs this file too)."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in get_available_backends():
        if is_built(name) and not get_backend(name).is_configured():
            report = run(name)
            assert report.ok, [c for c in report.checks if c.outcome == "FAILED"]


def test_unknown_name_is_wrong_usage(capsys):
    """A misspelt name is told the nearest one, with exit code 2."""
    import pytest

    with pytest.raises(SystemExit) as left:
        main(["opena"])
    assert left.value.code == 2
    assert "openai" in capsys.readouterr().err


if __name__ == "__main__":
    sys.exit(main())
