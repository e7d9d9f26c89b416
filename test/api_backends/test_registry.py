"""The nineteen names: in order, lazily, and what finds a back end by its model."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import api_backends
from api_backends import (
    create_api_backend,
    find_compatible_backend,
    get_available_backends,
    get_backend,
)
from api_backends.errors import ConfigurationError, InvalidRequestError
from api_backends.registry import ROWS, is_built

ROOT = Path(__file__).resolve().parents[2]
NAMES = [
    "openai", "openai_mini", "claude", "gemini", "groq", "llvm", "vllm", "vllm_unified", "ovms",
    "ovms_unified", "ollama", "ollama_clean", "hf_tgi", "hf_tgi_unified", "hf_tei",
    "hf_tei_unified", "opea", "s3_kit", "sample_backend",
]  # fmt: skip
BUILT = [row.name for row in ROWS if is_built(row.name)]


def python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True,
        cwd=ROOT,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_the_names_in_order():
    assert get_available_backends() == NAMES
    assert [row.class_name for row in ROWS] == [
        "OpenAI", "OpenAIMini", "Claude", "Gemini", "Groq", "LLVM", "VLLM", "VLLMUnified", "OVMS",
        "OVMSUnified", "Ollama", "OllamaClean", "HFTGI", "HFTGIUnified", "HFTEI", "HFTEIUnified",
        "OPEA", "S3Kit", "SampleBackend",
    ]  # fmt: skip


@pytest.mark.parametrize("name", BUILT)
def test_each_is_what_it_says(name):
    kind = get_backend(name)
    assert kind.name == name
    row = next(row for row in ROWS if row.name == name)
    assert kind.__name__ == row.class_name
    assert kind.__module__ == f"api_backends.{row.module}"
    assert getattr(api_backends, row.class_name) is kind
    assert kind.__doc__


def test_aliases_and_unknown_names():
    assert get_backend("openai_api") is get_backend("openai")
    with pytest.raises(ValueError, match="did you mean 'groq'"):
        get_backend("grok")
    with pytest.raises(ValueError, match="there are: "):
        get_backend("zzzzzz")
    for wrong in (None, 5, ["openai"]):
        with pytest.raises(ValueError, match="no back end"):
            create_api_backend(wrong)
    with pytest.raises(AttributeError, match="Nothing"):
        _ = api_backends.Nothing


def test_importing_loads_the_standard_library_alone():
    loaded = python(
        "import json, sys; before = set(sys.modules); import api_backends;"
        "api_backends.get_available_backends();"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    outside = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert outside == {"api_backends"}
    assert "api_backends.base" not in loaded


def test_a_back_end_loads_nothing_heavy_and_no_other():
    loaded = python(
        "import json, sys; from api_backends import create_api_backend;"
        "create_api_backend('sample_backend'); print(json.dumps(sorted(sys.modules)))"
    )
    heavy = {"torch", "boto3", "docker", "numpy", "transformers", "openvino"}
    assert not heavy & set(loaded)
    assert "api_backends.openai_api" not in loaded
    assert "requests" in loaded


def test_finding_by_model():
    threads = threading.active_count()
    assert find_compatible_backend("gpt-4o-mini").name == "openai"
    assert find_compatible_backend("no-such-model-anywhere") is None
    with_url = {"opea_api_url": "http://h:1"}
    assert find_compatible_backend("no-such-model-anywhere", metadata=with_url).name == "opea"
    with_key = {"openai_api_key": "sk-x", "sample_api_url": "http://h:1"}
    assert find_compatible_backend("gpt-4o", metadata=with_key).name == "openai"
    assert find_compatible_backend("gpt-4o", metadata={"sample_api_url": "http://h:1"}).name == (
        "sample_backend"  # configured comes before registry order
    )
    for wrong in ("", "  ", None, 5):
        with pytest.raises(InvalidRequestError, match="model"):
            find_compatible_backend(wrong)
    with pytest.raises(ConfigurationError):
        find_compatible_backend("gpt-4o", metadata={"timeuot": 1})
    assert threading.active_count() == threads


def test_a_configured_back_end_that_is_compatible():
    kind = get_backend("openai")
    assert not kind.is_configured()
    assert kind.is_configured({"openai_api_key": "k"})
    backend = kind()
    assert backend.is_compatible_model("GPT-4o")
    assert not backend.is_compatible_model("llama-3")
    assert not backend.is_compatible_model("")
    assert not backend.is_compatible_model(None)
    backend.close()
