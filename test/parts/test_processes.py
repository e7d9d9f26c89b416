"""Server programs start, say when they are ready, and always end; the benchmark server answers."""

from __future__ import annotations

import base64
import json
import os
import sys
import time

import pytest
import requests
from servers import bench_server, real
from servers.process import ServerProcess


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_program_that_ends_too_early_says_what_it_printed():
    command = [sys.executable, "-c", "print('no such model'); raise SystemExit(3)"]
    with pytest.raises(RuntimeError, match="no such model"):
        ServerProcess(command, ready="listening", timeout=20)


def test_a_program_that_is_never_ready_is_ended():
    command = [sys.executable, "-c", "import sys; print('hm', flush=True); sys.stdin.read()"]
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="not ready after"):
        ServerProcess(command, ready="listening", timeout=0.3)
    assert time.monotonic() - started < 8


def test_a_program_that_ignores_requests_to_end_is_killed():
    source = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    source += "print('ready', flush=True)\nwhile True: signal.pause()"
    server = ServerProcess([sys.executable, "-c", source], ready="ready", timeout=20)
    server.stop(timeout=0.2)
    assert gone(server.pid)


def test_real_parts_skip_or_fail(monkeypatch):
    real.require_real("part", True, "there")
    monkeypatch.delenv(real.REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="part: get it"):
        real.require_real("part", None, "get it")
    monkeypatch.setenv(real.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="get it"):
        real.require_real("part", None, "get it")


def test_the_benchmark_server_answers_what_clients_expect():
    with bench_server.start() as server, requests.Session() as session:
        chat = session.post(f"{server.url}/v1/chat/completions", json={"model": "x"}, timeout=5)
        assert chat.json()["choices"][0]["message"]["content"] == bench_server.CONTENT
        assert 500 < len(chat.content) < 700
        body = {"model": "x", "stream": True, "messages": ["x" * 300_000]}
        stream = session.post(f"{server.url}/v1/chat/completions", json=body, timeout=5)
        lines = stream.text.split("\n\n")
        assert lines[-2:] == ["data: [DONE]", ""]
        chunks = [json.loads(line[6:]) for line in lines[:-2]]
        deltas = [c["choices"][0]["delta"] for c in chunks if c["choices"]]
        text = "".join(delta.get("content", "") for delta in deltas)
        assert text.split() == [f"word{i}" for i in range(bench_server.STREAM_CHUNKS)]
        plain = session.post(f"{server.url}/v1/embeddings", json={"input": "x"}, timeout=5)
        packed = session.post(
            f"{server.url}/v1/embeddings", json={"encoding_format": "base64"}, timeout=5
        )
        assert len(plain.json()["data"][0]["embedding"]) == 384
        assert len(base64.b64decode(packed.json()["data"][0]["embedding"])) == 4 * 384
        assert session.get(f"{server.url}/v1/nowhere", timeout=5).status_code == 404
    assert gone(server.pid)
