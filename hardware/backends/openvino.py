"""Models on what OpenVINO drives: processors, Intel GPUs and NPUs.

A checkpoint is converted once (`openvino_conversion`); from then on, a process reads the converted
model from disk and needs neither torch nor transformers.
"""

from __future__ import annotations

from collections import deque
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from api_backends.errors import BackendClosedError, ConfigurationError
from hardware.devices import OPENVINO_EXTRA

from .torch_runner import pad_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from hardware.devices import Device
    from hardware.encoder_spec import EncoderSpec

    from .base import TokenBatch

__all__ = ["BACKEND", "PRECISION_HINTS"]

_BUDGET = 1024
PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}

# Of parent processes: destroying them in a forked child would wait for threads it doesn't have.
_of_parents: list[Any] = []


class _OpenVino:
    def check(self) -> None:
        """Raise ConfigurationError if OpenVINO or the tokenizers are missing."""
        for package in ("openvino", "tokenizers"):
            if find_spec(package) is None:
                raise ConfigurationError(
                    f"the openvino device needs the package {package}: {OPENVINO_EXTRA}"
                )

    def open_encoder(self, spec: EncoderSpec, device: Device, precision: str) -> OpenVinoRunner:
        """Return the checkpoint compiled for `device`, converted first if it never was."""
        from .openvino_conversion import converted_model

        return OpenVinoRunner(converted_model(spec), device.id.partition(":")[2], precision, spec)


class OpenVinoRunner:
    """A `Runner` over a converted encoder (inputs `input_ids` and `attention_mask`).

    Args:
        path: The model's .xml file.
        device: OpenVINO's name of the device.
        precision: "fp32", "bf16" or "fp16".
        spec: What the checkpoint is.
    """

    padded = True
    token_budget = _BUDGET

    def __init__(self, path: Path, device: str, precision: str, spec: EncoderSpec) -> None:
        self._path = path
        self._device = device
        self._precision = precision
        self._pad_id = spec.pad_id
        self.mixed = not spec.entry.padding_matters
        self._open()

    def _open(self) -> None:
        import openvino

        core: Any = openvino.Core()
        # THROUGHPUT gives each core a batch of its own: more than all cores on one batch give.
        compiled = core.compile_model(
            str(self._path),
            self._device,
            {
                "PERFORMANCE_HINT": "THROUGHPUT",
                "INFERENCE_PRECISION_HINT": PRECISION_HINTS[self._precision],
            },
        )
        self.parallel = max(1, int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
        self._model: Any = compiled
        self._idle: deque[Any] = deque(
            compiled.create_infer_request() for _ in range(self.parallel)
        )

    def start(self, batch: TokenBatch) -> Callable[[], npt.NDArray[np.float32]]:
        """Start the batch on a free request of the device."""
        if self._model is None:
            self._open()
        if not self._idle:
            raise BackendClosedError("the model was closed; load it again")
        ids, mask = pad_batch(batch, self._pad_id)
        request = self._idle.popleft()
        try:
            request.start_async({"input_ids": ids, "attention_mask": mask}, share_inputs=True)
        except BaseException:
            self._idle.append(request)
            raise

        def wait() -> npt.NDArray[np.float32]:
            _ = ids, mask  # the device reads them until it is done
            try:
                request.wait()
                vectors: npt.NDArray[np.float32] = request.get_output_tensor(0).data.copy()
            finally:
                self._idle.append(request)
            return vectors

        return wait

    def after_fork(self) -> None:
        """Compile the model again in a forked child, when it is next used."""
        _of_parents.append((self._model, self._idle))
        self._model = None
        self._idle = deque()

    def close(self) -> None:
        """Free the compiled model."""
        self._idle = deque()
        self._model = _CLOSED


_CLOSED = object()
BACKEND = _OpenVino()
