"""The command line as a program: exit codes, one-line errors, interrupts, pipes and terminals."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ipfs_accelerate_py import __version__
from ipfs_accelerate_py.cli import main

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("demo", "chat", "embed", "models", "devices", "backends", "status", "bench")
KEY = "sk-command-line-0123456789"
DEADLINE = 60


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_API_URL", "_MODEL")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    # The cache of converted models stays where it is: only keys must not be found.
    monkeypatch.setenv("IPFS_ACCELERATE_CACHE", _cache())
    monkeypatch.chdir(tmp_path)


def _cache() -> str:
    return os.environ.get("IPFS_ACCELERATE_CACHE") or str(_HOME / ".cache/ipfs_accelerate")


_HOME = Path.home()


def program(*arguments: str, **options) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    command = [sys.executable, "-m", "ipfs_accelerate_py", *arguments]
    return subprocess.Popen(command, env=env, **options)


def ran(*arguments: str, **options) -> tuple[int, str, str]:
    pipe = subprocess.PIPE
    process = program(*arguments, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL, **options)
    out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, out.decode(), err.decode()


def one_line(text: str) -> str:
    assert text.startswith("ipfs-accelerate: "), text
    assert text.endswith("\n")
    assert text.count("\n") == 1, text
    return text


# -- help ---------------------------------------------------------------------------------------


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ipfs-accelerate {__version__}\n"


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    with_help = capsys.readouterr().out
    assert all(f"\n    {name} " in with_help for name in COMMANDS)
    assert main([]) == 0
    assert capsys.readouterr().out == with_help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: ipfs-accelerate {command} ")
    assert "--json" in text
    assert "--debug" in text


LIGHT = """
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv.pop(1))
from ipfs_accelerate_py.cli import main
main(sys.argv[1:])
ours = {"api_backends", "hardware", "ipfs_accelerate_py"}
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(tops - sys.stdlib_module_names - ours), sep=",", file=sys.stderr)
"""


def loaded_by(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", LIGHT, str(ROOT), *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    return {name for name in done.stderr.splitlines()[-1].split(",") if name}


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["devices"], ["nosuch"]])
def test_light_commands_load_nothing_third_party(arguments):
    assert loaded_by(*arguments) == set()


def test_listing_back_ends_loads_no_heavy_package():
    heavy = {"torch", "transformers", "openvino", "numpy", "boto3", "docker", "tqdm"}
    assert not loaded_by("backends") & heavy


# -- wrong usage and failures -------------------------------------------------------------------

WRONG_USAGE = {
    "unknown command": (["devises"], "did you mean 'devices'"),
    "unknown option": (["devices", "--jsn"], "--jsn"),
    "no text": (["embed"], "TEXT"),
    "empty text": (["embed", "  "], "TEXT: the text is empty"),
    "unknown device": (["embed", "x", "--device", "tpu"], "no device 'tpu'"),
    "two places": (["embed", "x", "--device", "cpu", "--backend", "openai"], "not allowed with"),
    "unknown back end": (["chat", "x", "--backend", "opnai"], "did you mean 'openai'"),
    "unknown back end of models": (["models", "--backend", "nosuch"], "no back end 'nosuch'"),
    "no URL": (["chat", "x", "--url", "localhost:8000"], "begins with http://"),
    "no prompt": (["chat"], "PROMPT"),
    "empty prompt": (["chat", " "], "PROMPT: the text is empty"),
    "not UTF-8": (["chat", "\udce4"], "not valid UTF-8"),
    "stream and json": (["chat", "x", "--json", "--stream"], "--stream"),
    "demo on nothing": (["demo", "--device", "abacus"], "no 'abacus'"),
    "no hits": (["demo", "--top", "0"], "--top"),
    "empty query": (["demo", "--query", ""], "--query: the text is empty"),
    "no sentences": (["bench", "--sentences", "0"], "--sentences"),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG_USAGE.values(), ids=WRONG_USAGE)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, said, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in one_line(err)


FAILURES = {
    "nothing is ready": (["chat", "x"], "no back end is ready to chat"),
    "no key": (["chat", "x", "--backend", "openai"], "OPENAI_API_KEY"),
    "nobody listens": (["chat", "x", "--url", "http://127.0.0.1:9"], "can't be reached"),
    "a later version": (["chat", "x", "--backend", "s3_kit"], "not in this version yet"),
    "unknown model": (["embed", "x", "--model", "nosuch"], "nosuch"),
    "missing folder": (["demo", "/no/such/folder"], "/no/such/folder"),
    "folder without text": (["demo", "."], "FOLDER: there is no text"),
}


@pytest.mark.parametrize(("arguments", "said"), FAILURES.values(), ids=FAILURES)
def test_failures_are_one_line_and_exit_code_1(arguments, said, capsys):
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert said in one_line(err)


def test_absent_gpu_is_a_failure_that_says_so(capsys):
    import hardware

    if any(device.kind == "cuda" and device.available for device in hardware.detect_devices()):
        pytest.skip("there is a GPU here")
    assert main(["embed", "x", "--device", "cuda:7"]) == 1
    assert "cuda:7" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("debug", [False, True])
def test_a_refused_key_is_not_shown(debug, capsys, monkeypatch, keyed_openai_standin):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_URL", keyed_openai_standin.url)
    arguments = ["chat", "x", "--backend", "openai", *(["--debug"] if debug else [])]
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert keyed_openai_standin.requests[-1]["headers"]["authorization"] == f"Bearer {KEY}"
    assert KEY not in out + err
    assert "401" in err
    assert ("Traceback" in err) is debug
    one_line(err.splitlines(keepends=True)[-1])


def test_a_mistake_of_ours_is_one_line_without_keys(capsys, monkeypatch):
    from ipfs_accelerate_py.cli import devices

    def broken(arguments, terminal):
        raise RuntimeError(f"lost\nits way with {KEY}")

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(devices, "run", broken)
    assert main(["devices"]) == 1
    err = capsys.readouterr().err
    assert "RuntimeError: lost its way with ***" in one_line(err)
    assert "--debug" in err


# -- signals, pipes, terminals ------------------------------------------------------------------


def test_interrupt_is_quiet_and_130():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(DEADLINE)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        pipe = subprocess.PIPE
        process = program("chat", "x", "--model", "m", "--url", url, stdout=pipe, stderr=pipe)
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)  # it asks, and waits for an answer that doesn't come
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_broken_pipe_is_quiet():
    read, write = os.pipe()
    os.close(read)
    process = program("backends", stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    _, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, err) == (141, b"")


def in_terminal(*arguments: str, columns: int = 80, typed: bytes = b"", **env: str) -> str:
    """Run with a terminal for all three streams; return what it showed."""
    leader, follower = pty.openpty()
    settings = {"TERM": "xterm-256color", "COLUMNS": str(columns), **env}
    process = program(*arguments, stdin=follower, stdout=follower, stderr=follower, env=settings)
    os.close(follower)
    if typed:
        os.write(leader, typed)
    shown = bytearray()
    try:
        while piece := os.read(leader, 65536):
            shown += piece
    except OSError:  # how Linux tells the end of a terminal
        pass
    os.close(leader)
    assert process.wait(DEADLINE) == 0, shown.decode()
    return shown.decode().replace("\r\n", "\n")


def test_colours_are_for_terminals_alone():
    assert "\x1b[" in in_terminal("status")
    assert "\x1b[" not in in_terminal("status", NO_COLOR="1")
    assert "\x1b[" not in in_terminal("status", TERM="dumb")
    code, out, _ = ran("status")
    assert code == 0
    assert "\x1b" not in out


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_tables_fit_the_terminal(columns):
    from ipfs_accelerate_py.cli.terminal import display_width

    shown = in_terminal("backends", columns=columns)
    assert max(display_width(line) for line in shown.splitlines()) <= columns


def test_ascii_terminal_gets_ascii():
    code, out, err = ran("devices", env={"PYTHONIOENCODING": "ascii"})
    assert (code, err) == (0, "")
    assert out.isascii()
    code, out, err = ran(
        "chat", "ä", "--url", "http://127.0.0.1:9", env={"PYTHONIOENCODING": "ascii"}
    )
    assert code == 1
    one_line(err)


def test_a_conversation_remembers_and_ends(openai_standin):
    model = openai_standin.models[0]
    url = openai_standin.url
    typed = b"first question\nsecond question\n\x04"
    shown = in_terminal("chat", "--url", url, "--model", model, typed=typed)
    assert "(REAL)" in shown
    body = json.loads(openai_standin.requests[-1]["body"])
    said = [(each["role"], each["content"]) for each in body["messages"]]
    assert said == [
        ("user", "first question"),
        ("assistant", "first question"),
        ("user", "second question"),
    ]
