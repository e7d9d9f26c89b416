"""What a program pays before its first answer: import, a client, one call; each in a fresh process.

A probe loads nothing of its own but `sys` and `time`, so that a module which a library imports is
never there already.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from servers.bench_server import MODEL

from .http_peers import KEY, MESSAGES
from .report import OURS, Figure, Row

ROOT = Path(__file__).resolve().parents[2]
BARE = "python itself"
CORE = "ipfs_accelerate_py (the core)"
OUR_TOP_NAMES = ("api_backends", "hardware", "ipfs_accelerate_py")


@dataclass(frozen=True, slots=True)
class Probe:
    """The three steps of one library, as source; it may name URL, KEY, MODEL, MESSAGES and BODY."""

    name: str
    module: str
    make: str = ""
    call: str = ""


_POST = "client.post(URL + '/chat/completions', json=BODY).json()"
_CALL = "client.chat.completions.create(model=MODEL, messages=MESSAGES)"

PROBES = (
    Probe(BARE, "sys"),
    Probe(
        OURS,
        "api_backends",
        "client = api_backends.create_api_backend('openai', metadata={"
        "'openai_api_key': KEY, 'api_base': URL})",
        "client.chat(MESSAGES, MODEL).content",
    ),
    Probe(CORE, "ipfs_accelerate_py"),
    Probe(
        "requests",
        "requests",
        "client = requests.Session()",
        _POST,
    ),
    Probe(
        "urllib3",
        "urllib3",
        "client = urllib3.PoolManager()",
        "client.request('POST', URL + '/chat/completions', json=BODY).json()",
    ),
    Probe(
        "httpx",
        "httpx",
        "client = httpx.Client()",
        _POST,
    ),
    Probe("openai", "openai", "client = openai.OpenAI(api_key=KEY, base_url=URL)", _CALL),
    Probe(
        "litellm",
        "litellm",
        "",
        "litellm.completion('openai/' + MODEL, messages=MESSAGES, api_base=URL, api_key=KEY)",
    ),
    Probe(
        "any-llm",
        "any_llm",
        "client = any_llm.AnyLLM.create('openai', api_key=KEY, api_base=URL)",
        "client.completion(model=MODEL, messages=MESSAGES)",
    ),
    Probe(
        "langchain-openai",
        "langchain_openai",
        "client = langchain_openai.ChatOpenAI(model=MODEL, api_key=KEY, base_url=URL)",
        "client.invoke(MESSAGES)",
    ),
)

_PROGRAM = """\
import sys, time
before = set(sys.modules)
began = time.perf_counter()
import {module}
imported = time.perf_counter()
loaded = set(sys.modules) - before
{make}
made = time.perf_counter()
{call}
answered = time.perf_counter()
with open("/proc/self/status" if sys.platform == "linux" else "/dev/null") as status:
    resident = [int(line.split()[1]) for line in status if line.startswith("VmRSS:")]
known = sys.stdlib_module_names
print("\\n" + repr({{
    "import": imported - began, "made": made - began, "answered": answered - began,
    "modules": len(loaded), "resident": resident[0] if resident else None,
    "third_party": sorted({{name.partition(".")[0] for name in loaded}} - known - set({ours!r})),
}}))
"""


def run_probe(probe: Probe, url: str) -> dict[str, object]:
    """Run one probe in a fresh interpreter and return what it found.

    Returns:
        Seconds from before the import to after it (`import`), to a made client (`made`) and to
        the first answer (`answered`); `modules` loaded by the import, `third_party` ones among
        them; `resident` memory at the end, in KiB.

    Raises:
        RuntimeError: It failed; the message is its last line.
    """
    names = f"URL, KEY, MODEL, MESSAGES = {url!r}, {KEY!r}, {MODEL!r}, {MESSAGES!r}\n"
    names += "BODY = {'model': MODEL, 'messages': MESSAGES}\n"
    program = names + _PROGRAM.format(
        module=probe.module, make=probe.make, call=probe.call, ours=OUR_TOP_NAMES
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1][:200])
    found: dict[str, object] = ast.literal_eval(done.stdout.strip().splitlines()[-1])
    return found


def measure_startup(
    url: str, rounds: int, *, with_peers: bool
) -> tuple[list[Figure], dict[str, str]]:
    """Return import time, modules, time to a client, time to an answer and memory.

    Also returns why a library is left out. Processes start in turn, round by round, after one each
    that fills the disk cache and is not counted.
    """
    import_time = Figure("import_ms", "import", "ms", caption="Import")
    modules = Figure("import_modules", "loaded", "modules")
    third_party = Figure("import_third_party", "of others", "packages")
    made = Figure("made_ms", "…and a client", "ms")
    answered = Figure(
        "answer_ms", "…and an answer", "ms", caption="From nothing to the first answer"
    )
    memory = Figure("resident_mib", "memory then", "MiB", caption="Memory after the first answer")
    skipped: dict[str, str] = {}
    probes = []
    for probe in PROBES:
        if not with_peers and probe.name not in (BARE, OURS, CORE):
            continue
        if probe.module != "sys" and not _is_there(probe.module):
            skipped[probe.name] = "not installed" if probe.name != CORE else "not in this version"
            continue
        try:
            run_probe(probe, url)
            probes.append(probe)
        except RuntimeError as error:
            if probe.name in (OURS, CORE):
                raise
            skipped[probe.name] = str(error)
    for _ in range(rounds):
        for probe in probes:
            found = run_probe(probe, url)
            if probe.name != BARE:
                _add(import_time, probe.name, found["import"], 1e3)
                _add(modules, probe.name, found["modules"])
                others = found["third_party"]
                assert isinstance(others, list)
                _add(third_party, probe.name, len(others))
            if probe.call:
                _add(made, probe.name, found["made"], 1e3)
                _add(answered, probe.name, found["answered"], 1e3)
            if found["resident"] is not None and probe.name != CORE:
                _add(memory, probe.name, found["resident"], 1 / 1024)
    return [import_time, modules, third_party, made, answered, memory], skipped


def _is_there(module: str) -> bool:
    spec = find_spec(module)
    return spec is not None and spec.origin is not None  # a bare folder has no origin


def _add(figure: Figure, name: str, value: object, scale: float = 1.0) -> None:
    assert isinstance(value, (int, float))
    row = figure.row(name)
    if row is None:
        row = Row(name, [])
        figure.rows.append(row)
    row.samples.append(value * scale)
