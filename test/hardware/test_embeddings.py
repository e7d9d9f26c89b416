"""Embeddings on real devices, from small models of every type and from the real MiniLM."""

import json
import os
import shutil
import threading

import numpy as np
import pytest
from real_parts import require_packages

import hardware
from api_backends.errors import (
    ApiError,
    ApiTimeoutError,
    BackendClosedError,
    ConfigurationError,
    ContextLengthError,
    InvalidRequestError,
)
from hardware import local_model
from hardware.models import mapped_models

TEXTS = [
    "the sun is large and the moon is small",
    "a red tree by the sea",
    "answer this question in one word or two and not in three for that is slow",
    "night",
    "the old server is not fast but the new device is and that is good for the batch",
]
DEVICES = ("cpu", "openvino")
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)


@pytest.fixture(params=DEVICES)
def device(request):
    require_packages(
        *(
            ("torch", "transformers", "tokenizers")
            + (("openvino",) if request.param == "openvino" else ())
        )
    )
    return request.param


@pytest.fixture
def model(tiny, device):
    with hardware.load(tiny(), device, precision="fp32") as loaded:
        yield loaded


def cosines(one, other):
    one = one / np.linalg.norm(one, axis=1, keepdims=True)
    return (one * (other / np.linalg.norm(other, axis=1, keepdims=True))).sum(axis=1)


@pytest.mark.parametrize("model_type", sorted(mapped_models()))
def test_every_type_computes_what_transformers_computes(tiny, device, model_type):
    from tiny_models import reference_vectors

    folder = tiny(model_type)
    wanted = reference_vectors(folder, TEXTS)
    assert np.ptp(wanted) > 0.1, "vectors this small would prove nothing"
    with hardware.load(folder, device, precision="fp32") as model:
        got = model(TEXTS)
        assert got.embeddings.shape == (len(TEXTS), model.dimensions)
        assert np.abs(got.embeddings - wanted).max() < 1e-5
        # Alone, in another order, twice: the same vectors.
        again = model([*reversed(TEXTS), *TEXTS]).embeddings
        assert np.abs(again[len(TEXTS) :] - wanted).max() < 1e-5
        assert np.abs(again[: len(TEXTS)][::-1] - wanted).max() < 1e-5
        assert np.abs(model(TEXTS[3]).embeddings[0] - wanted[3]).max() < 1e-5
    bf16 = hardware.resolve_device(device).precisions
    if "bf16" in bf16:
        with hardware.load(folder, device, precision="bf16") as model:
            assert cosines(model(TEXTS).embeddings, wanted).min() > 0.999


@pytest.mark.parametrize(
    "pooling", ["mean", "cls", "max", "mean_sqrt_len_tokens", "lasttoken", "weightedmean"]
)
def test_pooling_is_that_of_sentence_transformers(tiny, device, pooling):
    require_packages("sentence_transformers")
    from sentence_transformers import SentenceTransformer, models

    folder = tiny("bert", pooling)
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer_config.json").exists():
        PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]", model_max_length=96
        ).save_pretrained(folder)
    peer = SentenceTransformer(
        modules=[models.Transformer(str(folder)), models.Pooling(32, pooling_mode=pooling)],
        device="cpu",
    )
    wanted = peer.encode(TEXTS, show_progress_bar=False)
    with hardware.load(folder, device, precision="fp32") as model:
        assert model.pooling == (pooling,)
        assert np.abs(model(TEXTS, normalize=False).embeddings - wanted).max() < 1e-5
        lengths = np.linalg.norm(model(TEXTS).embeddings, axis=1)
        assert np.abs(lengths - 1).max() < 1e-6


def test_the_answer_says_what_ran(model, device):
    answer = model(TEXTS[:2], normalize=True)
    place = hardware.resolve_device(device).id
    assert answer.embeddings.dtype == np.float32
    assert (answer.device, answer.backend, answer.precision) == (place, place, "fp32")
    assert answer.model == model.model
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 19
    assert answer.latency > 0
    assert answer.implementation_type == "(REAL)"
    assert np.abs(np.linalg.norm(answer.embeddings, axis=1) - 1).max() < 1e-6
    assert repr(model).endswith("fp32, loaded>")


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        ("", "inputs"),
        ("  \n", "inputs"),
        ([], "inputs"),
        (["a", ""], r"inputs\[1\]"),
        (["a", 3], r"inputs\[1\]"),
        (None, "inputs"),
        (7, "inputs"),
        ({"text": "a"}, "inputs"),
        (b"bytes", "inputs"),
    ],
)
def test_inputs_that_are_no_texts_are_named(model, inputs, names):
    with pytest.raises(InvalidRequestError, match=names):
        model(inputs)


def test_half_of_a_surrogate_pair_is_refused(model):
    with pytest.raises(InvalidRequestError, match="surrogate"):
        model(["fine", "\ud800"])


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "soon", None])
def test_a_timeout_that_is_none_is_refused(model, timeout):
    with pytest.raises(InvalidRequestError, match="timeout"):
        model("a text", timeout=timeout)


def test_a_long_text_is_refused_unless_it_may_be_cut(model):
    long = " ".join(["tree"] * 200)
    with pytest.raises(ContextLengthError, match=r"inputs\[1\] has 202 tokens.*takes 96"):
        model(["a tree", long])
    cut = model(["a tree", long], truncate=True)
    assert cut.usage.prompt_tokens == 4 + 96
    fits = model(" ".join(["tree"] * 94))
    assert np.allclose(cut.embeddings[1], fits.embeddings[0], atol=1e-5)


def test_a_default_prompt_is_put_before_each_text(tiny, tmp_path):
    folder = tmp_path / "prompted"
    shutil.copytree(tiny(), folder)
    prompts = {"prompts": {"query": "question "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    with hardware.load(folder, "cpu") as prompted, hardware.load(tiny(), "cpu") as plain:
        same = plain("question the sun").embeddings
        assert np.array_equal(prompted("the sun").embeddings, same)


def test_the_same_model_is_loaded_once_and_closed_by_its_last_user(tiny, device):
    first = hardware.load(tiny(), device, precision="fp32")
    second = hardware.load(str(tiny()), device, precision="fp32")
    assert first is second
    assert not first.loaded
    assert first.warmup() is first
    assert first.loaded
    first.close()
    assert second("a text").embeddings.shape == (1, 32)
    second.close()
    second.close()
    with pytest.raises(BackendClosedError, match="load it again"):
        second("a text")
    third = hardware.load(tiny(), device, precision="fp32")
    assert third is not first
    assert third("a text").embeddings.shape == (1, 32)
    third.close()


def test_many_threads_get_what_one_thread_gets(model):
    wanted = model(TEXTS).embeddings
    errors = []

    def caller(start):
        try:
            for number in range(12):
                index = (start + number) % len(TEXTS)
                got = model(TEXTS[index]).embeddings[0]
                assert np.abs(got - wanted[index]).max() < 1e-5
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=caller, args=(start,)) for start in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not errors


def test_a_long_call_reports_progress_and_keeps_its_deadline(model):
    seen = []
    texts = [" ".join(["tree"] * 90)] * 200
    model(texts, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert len(seen) > 1
    assert seen[-1] == (200, 200)
    with pytest.raises(ApiTimeoutError, match="of 200 texts were done"):
        model(texts, timeout=1e-3)
    assert model("a text").embeddings.shape == (1, 32)


@pytest.mark.parametrize("precision", ["int8", "fp16", "fp64", None])
def test_a_precision_that_the_device_lacks_is_refused(tiny, device, precision):
    with pytest.raises(ConfigurationError, match="precision"):
        hardware.load(tiny(), device, precision=precision)


def test_auto_takes_bf16_only_where_it_is_real(tiny, device):
    usable = hardware.resolve_device(device).precisions
    with hardware.load(tiny(), device) as model:
        assert model.precision == ("bf16" if "bf16" in usable else "fp32")


def test_a_checkpoint_that_lacks_tensors_is_never_filled_with_random_ones(tiny, device, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "lacking"
    shutil.copytree(tiny(), folder)
    tensors = load_file(str(folder / "model.safetensors"))
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    with (
        hardware.load(folder, device) as model,
        pytest.raises(ConfigurationError, match="lacks 1 tensors"),
    ):
        model("a text")


def test_a_folder_without_tokenizer_says_how_to_make_one(tiny, device, tmp_path):
    folder = tmp_path / "dumb"
    shutil.copytree(tiny(), folder)
    (folder / "tokenizer.json").unlink()
    with (
        hardware.load(folder, device) as model,
        pytest.raises(ConfigurationError, match="AutoTokenizer"),
    ):
        model("a text")
    (folder / "tokenizer.json").write_text("{}")
    with hardware.load(folder, device) as model, pytest.raises(ConfigurationError, match="damaged"):
        model("a text")


def test_queue_size_is_checked(tiny):
    for size in (0, -1, "many", True):
        with pytest.raises(ConfigurationError, match="queue_size"):
            hardware.load(tiny(), "cpu", queue_size=size)


def test_a_type_that_a_device_does_not_run_says_why(tiny, monkeypatch):
    from dataclasses import replace

    from hardware import encoder_spec

    entries = mapped_models()
    lame = replace(entries["bert"], devices={"cpu": "its legs are too short"})
    monkeypatch.setattr(encoder_spec, "mapped_models", lambda: {**entries, "bert": lame})
    with pytest.raises(ConfigurationError, match="its legs are too short"):
        hardware.load(tiny(), "cpu")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_used_model_works_in_a_forked_child(tiny, device, python):
    tiny()
    printed = python(
        "import os, sys, signal\n"
        "import hardware\n"
        "model = hardware.load(sys.argv[1], sys.argv[2], precision='fp32')\n"
        "texts = ['the sun', 'a red tree by the sea'] * 200\n"
        "wanted = model(texts).embeddings\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal.alarm(60)\n"
        "    same = abs(model(texts).embeddings - wanted).max() < 1e-5\n"
        "    os._exit(0 if same else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "print(bool(abs(model(texts).embeddings - wanted).max() < 1e-5))\n",
        tiny(),
        device,
    )
    assert printed.split() == ["0", "True"]


def test_a_child_forked_while_a_model_loads_is_not_stuck(tiny, device):
    model = hardware.load(tiny(), device, precision="fp32")
    model._opening.acquire()
    local_model._registry_lock.acquire()
    try:
        local_model._after_fork_in_child()
        assert not model._opening.locked()
        assert not local_model._registry_lock.locked()
    finally:
        model.close()


class TestOpenVino:
    @pytest.fixture(autouse=True)
    def needs(self):
        require_packages("openvino", "torch", "transformers", "tokenizers")

    def test_once_converted_neither_torch_nor_transformers_is_imported(self, tiny, python):
        with hardware.load(tiny(), "openvino", precision="fp32") as model:
            wanted = model(TEXTS).embeddings
        printed = python(
            "import sys, json, hardware\n"
            "model = hardware.load(sys.argv[1], 'openvino', precision='fp32')\n"
            "vectors = model(json.loads(sys.argv[2])).embeddings\n"
            "heavy = [name for name in ('torch', 'transformers') if name in sys.modules]\n"
            "print(json.dumps([vectors.tolist(), heavy]))\n",
            tiny(),
            json.dumps(TEXTS),
        )
        vectors, heavy = json.loads(printed)
        assert heavy == []
        assert np.abs(np.array(vectors) - wanted).max() < 1e-6

    def test_conversions_are_kept_by_content(self, tiny, tmp_path, monkeypatch):
        monkeypatch.setenv("IPFS_ACCELERATE_CACHE", str(tmp_path / "cache"))
        copy = tmp_path / "elsewhere"
        shutil.copytree(tiny(), copy)
        for folder in (tiny(), copy, tiny("bert", "cls"), tiny("electra")):
            with hardware.load(folder, "openvino") as model:
                model("a text")
        made = sorted(path.name for path in (tmp_path / "cache" / "openvino").iterdir())
        assert len(made) == 3
        record = json.loads((tmp_path / "cache/openvino" / made[0] / "conversion.json").read_text())
        assert 0 <= record["largest_deviation"] < 1e-5

    def test_processes_that_convert_at_once_both_answer(self, tiny, tmp_path, python):
        code = (
            "import sys, hardware\n"
            "print(hardware.load(sys.argv[1], 'openvino')('a text').embeddings.shape)"
        )
        results = []
        environment = {"IPFS_ACCELERATE_CACHE": str(tmp_path / "cache")}
        threads = [
            threading.Thread(target=lambda: results.append(python(code, tiny(), **environment)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert results == ["(1, 32)", "(1, 32)"]
        assert len(list((tmp_path / "cache" / "openvino").iterdir())) == 1

    def test_a_graph_that_computes_something_else_is_not_served(self, tiny, tmp_path, monkeypatch):
        from hardware.backends import openvino_conversion

        monkeypatch.setenv("IPFS_ACCELERATE_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(openvino_conversion, "_LARGEST_DEVIATION", -1.0)
        with (
            hardware.load(tiny(), "openvino") as model,
            pytest.raises(ApiError, match="computes something else"),
        ):
            model("a text")
        assert not list((tmp_path / "cache" / "openvino").iterdir())

    def test_without_torch_an_unconverted_model_names_the_extra(self, tiny, tmp_path, monkeypatch):
        from hardware.backends import openvino_conversion

        monkeypatch.setenv("IPFS_ACCELERATE_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(openvino_conversion, "find_spec", lambda name: None)
        with (
            hardware.load(tiny(), "openvino") as model,
            pytest.raises(ConfigurationError, match=r"\[local\]"),
        ):
            model("a text")


class TestMiniLm:
    """The real weights, against sentence-transformers."""

    @pytest.fixture(scope="class")
    def wanted(self, minilm):
        require_packages("sentence_transformers")
        from sentence_transformers import SentenceTransformer

        peer = SentenceTransformer(str(minilm), device="cpu")
        return peer.encode([*TEXTS, LONG], show_progress_bar=False)

    @pytest.mark.parametrize(("precision", "lowest"), [("fp32", 0.999999), ("bf16", 0.9995)])
    def test_it_agrees_with_sentence_transformers(self, device, wanted, precision, lowest):
        if precision not in hardware.resolve_device(device).precisions:
            pytest.skip(f"this processor has no {precision}")
        with hardware.load("all-MiniLM-L6-v2", device, precision=precision) as model:
            assert model.model == "sentence-transformers/all-MiniLM-L6-v2"
            assert (model.dimensions, model.max_length) == (384, 256)
            got = model([*TEXTS, LONG], truncate=True).embeddings
            with pytest.raises(ContextLengthError, match="takes 256"):
                model(LONG)
        assert cosines(got, wanted).min() > lowest
        assert np.abs(np.linalg.norm(got, axis=1) - 1).max() < 1e-5

    def test_it_knows_what_is_alike(self, minilm, device):
        with hardware.load("all-MiniLM-L6-v2", device) as model:
            cat, kitten, tax = model(
                ["A cat sleeps on the sofa.", "The kitten naps on a couch.", "Tax law of 1986"]
            ).embeddings
        assert cat @ kitten > 0.6 > 0.2 > cat @ tax


LONG = "A sentence about nothing much that goes on and on. " * 60
