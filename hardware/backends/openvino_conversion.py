"""Converting checkpoints for OpenVINO, once, checked against torch, kept on disk by content.

A traced graph can be right for the example it was traced with and wrong for others, so a
conversion is compared with torch on two shapes before anybody is served from it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from api_backends.errors import ApiError, ConfigurationError
from hardware.devices import LOCAL_EXTRA
from hardware.disk_cache import cache_folder, file_sha256, make_folder_once

if TYPE_CHECKING:
    from pathlib import Path

    from hardware.encoder_spec import EncoderSpec

__all__ = ["converted_model"]

_log = logging.getLogger(__name__)
_REVISION = 1  # of this module's graphs; raise it when they change
_LARGEST_DEVIATION = 1e-3  # of fp32 OpenVINO from fp32 torch, relative to the largest value
_NAMES = ("input_ids", "attention_mask")


def converted_model(spec: EncoderSpec) -> Path:
    """Return the .xml file of the converted checkpoint, converting it if that was never done.

    Raises:
        ConfigurationError: It was never converted and torch or transformers are missing.
        ApiError: The converted model does not compute what torch computes.
    """
    folder = cache_folder() / "openvino" / _key(spec)
    if not folder.is_dir():
        for package in ("torch", "transformers"):
            if find_spec(package) is None:
                raise ConfigurationError(
                    f"model: {spec.checkpoint.model!r} was never converted for OpenVINO on this "
                    f"machine, which needs the package {package} once: {LOCAL_EXTRA}",
                    model=spec.checkpoint.model,
                )
        make_folder_once(folder, lambda target: _convert(spec, target))
    return folder / "model.xml"


def _key(spec: EncoderSpec) -> str:
    """Return the name of a conversion: another for other weights, settings or versions."""
    parts = {
        "weights": [file_sha256(path) for path in spec.checkpoint.weights],
        "config": spec.checkpoint.config,
        "class": spec.entry.class_name,
        "inputs": spec.entry.inputs,
        "pooling": spec.pooling,
        "revision": _REVISION,
        "openvino": version("openvino"),
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    return f"{spec.entry.model_type}-{digest}"


def _convert(spec: EncoderSpec, folder: Path) -> None:
    """Write model.xml, model.bin and conversion.json into `folder`."""
    import openvino

    from .pooled_encoder import load_pooled_encoder

    began = time.perf_counter()
    encoder = load_pooled_encoder(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of Python branches; the comparison decides
        model = _trace(encoder, spec)
    deviation = _compare(encoder, model, spec)
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    record = {
        "model": spec.checkpoint.model,
        "pooling": spec.pooling,
        "largest_deviation": deviation,
        "seconds": round(time.perf_counter() - began, 2),
        "versions": {name: _version(name) for name in ("openvino", "torch", "transformers")},
    }
    (folder / "conversion.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    _log.info("converted %s for OpenVINO: %s", spec.checkpoint.model, record)


def _trace(encoder: Any, spec: EncoderSpec) -> Any:
    """Return the module as an OpenVINO model with dynamic shapes.

    The steps are those of `openvino.convert_model` for a torch module, taken here one by one since
    that function also reports its use to its maker over the network.
    """
    import openvino
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = dict(zip(_NAMES, _sample(spec, (2, 9), seed=1), strict=True))
    with torch.no_grad():
        decoder = TorchScriptPythonDecoder(encoder, example_input=example)
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    for port, name in zip(model.inputs, _NAMES, strict=True):
        port.get_node().set_element_type(openvino.Type.i64)
        port.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
        port.tensor.set_names({name})
    model.validate_nodes_and_infer_types()
    return model


def _sample(spec: EncoderSpec, shape: tuple[int, int], seed: int) -> tuple[Any, Any]:
    """Return ids and mask of `shape`, the second text shorter than the first."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    size = int(spec.checkpoint.config.get("vocab_size", 100))
    # Not the padding token: some types count their positions by it.
    ids = torch.randint(min(spec.pad_id + 1, size - 1), size, shape, generator=generator)
    mask = torch.ones(shape, dtype=torch.long)
    cut = shape[1] // 2
    mask[1, cut:] = 0
    ids[1, cut:] = spec.pad_id
    return ids, mask


def _compare(encoder: Any, model: Any, spec: EncoderSpec) -> float:
    """Return the largest deviation from torch at fp32, on the traced shape and on another."""
    import numpy as np
    import openvino
    import torch

    core: Any = openvino.Core()
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    worst = 0.0
    longest = min(spec.max_length, 37)
    for shape, seed in (((2, 9), 2), ((3, longest), 3)):
        ids, mask = _sample(spec, shape, seed)
        with torch.inference_mode():
            wanted = encoder(ids, mask).numpy()
        got = compiled({"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
        scale = max(1.0, float(np.abs(wanted).max()))
        worst = max(worst, float(np.abs(got - wanted).max()) / scale)
    if not worst <= _LARGEST_DEVIATION:
        raise ApiError(
            f"model: {spec.checkpoint.model!r} computes something else on OpenVINO than with "
            f"torch (largest deviation {worst:.2g}): use the cpu device",
            backend="openvino",
            model=spec.checkpoint.model,
        )
    return worst


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
