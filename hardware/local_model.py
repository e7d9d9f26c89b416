"""A model on a device of this machine: loaded when first used, shared, closed by its last user."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from api_backends.errors import BackendClosedError

from .batching import Batcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from .backends.base import Runner
    from .checkpoints import Checkpoint
    from .devices import Device

__all__ = ["LocalModel"]


class LocalModel(ABC):
    """One checkpoint on one device in one precision; `hardware.load` makes and shares them.

    Weights are read at the first call, or by `warmup()`. May be called from any thread, and after
    `os.fork()`. A context manager: leaving it closes it.

    Attributes:
        model: The name it was loaded by (the full hub id for short names).
        device: Where it runs.
        precision: "fp32", "bf16" or "fp16".
        task: What it does, in Hugging Face's naming.
    """

    task: str

    def __init__(
        self, checkpoint: Checkpoint, device: Device, precision: str, queue_size: int
    ) -> None:
        self.checkpoint = checkpoint
        self.model = checkpoint.model
        self.device = device
        self.precision = precision
        self._queue_size = queue_size
        self._users = 0
        self._closed = False
        self._batcher: Batcher | None = None
        self._opening = threading.Lock()
        _MODELS.add(self)

    if TYPE_CHECKING:
        # What inputs and results are is each task's own business.
        __call__: Callable[..., Any]

    @abstractmethod
    def _open(self) -> Runner:
        """Put the weights on the device."""

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory now."""
        return self._batcher is not None and not self._closed

    def warmup(self) -> Self:
        """Load the weights now instead of at the first call, and run once.

        Raises:
            ConfigurationError: The checkpoint is damaged, or a package is missing.
        """
        self._runs()
        return self

    def close(self) -> None:
        """Give the model up; the last of its users frees the memory, and ends calls that wait."""
        with _registry_lock:
            self._users -= 1
            if self._users > 0 or self._closed:
                return
            self._closed = True
        self._free()

    def _free(self) -> None:
        self._closed = True
        with self._opening:
            batcher, self._batcher = self._batcher, None
        if batcher is not None:
            batcher.close()

    def _runs(self) -> Batcher:
        """Return what runs batches; loads the weights if they aren't."""
        batcher = self._batcher
        if batcher is None or self._closed:
            # Loading is what this lock is for: whoever comes meanwhile needs the same weights.
            with self._opening:
                if self._closed:
                    raise BackendClosedError(
                        f"{self.model} on {self.device.id} was closed; load it again",
                        backend=self.device.id,
                        model=self.model,
                    )
                if self._batcher is None:
                    self._batcher = Batcher(
                        self._open(),
                        name=f"{self.model} on {self.device.id}",
                        queue_size=self._queue_size,
                    )
                batcher = self._batcher
        return batcher

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "loaded" if self._batcher else "not loaded yet"
        return (
            f"<{type(self).__name__} {self.model!r} on {self.device.id}, {self.precision}, {state}>"
        )


_MODELS: weakref.WeakSet[LocalModel] = weakref.WeakSet()
_registry_lock = threading.Lock()


def _after_fork_in_child() -> None:
    global _registry_lock  # noqa: PLW0603 (the lock may be held by a thread that fork left behind)
    _registry_lock = threading.Lock()
    for model in list(_MODELS):
        model._opening = threading.Lock()  # noqa: SLF001


def _at_exit() -> None:
    for model in list(_MODELS):
        model._free()  # noqa: SLF001


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
