"""Texts to vectors: embeddings as sentence-transformers computes them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from api_backends.errors import InvalidRequestError
from api_backends.types import EmbeddingResponse, Usage
from hardware.backends.base import load_backend
from hardware.encoder_spec import read_encoder_spec
from hardware.local_model import LocalModel
from hardware.tokenization import TextTokenizer

if TYPE_CHECKING:
    from typing_extensions import Self

    from hardware.backends.base import Runner
    from hardware.batching import Progress
    from hardware.checkpoints import Checkpoint
    from hardware.devices import Device

__all__ = ["MODEL", "EmbeddingModel"]


class EmbeddingModel(LocalModel):
    """An encoder of texts; pooling and normalisation are those that the checkpoint asks for."""

    task = "feature-extraction"

    def __init__(
        self, checkpoint: Checkpoint, device: Device, precision: str, queue_size: int
    ) -> None:
        self._spec = read_encoder_spec(checkpoint)
        self._tokenizer: TextTokenizer | None = None
        super().__init__(checkpoint, device, precision, queue_size)

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self._spec.dimensions

    @property
    def max_length(self) -> int:
        """Tokens of the longest text that is taken whole, special tokens included."""
        return self._spec.max_length

    @property
    def pooling(self) -> tuple[str, ...]:
        """How the tokens' vectors become one; several are put one after the other."""
        return self._spec.pooling

    def warmup(self) -> Self:
        """Load the weights now instead of at the first call, and run once."""
        self(["warm up"], truncate=True)
        return self

    def _open(self) -> Runner:
        return load_backend(self.device).open_encoder(self._spec, self.device, self.precision)

    def __call__(
        self,
        inputs: str | list[str],
        *,
        normalize: bool | None = None,
        truncate: bool = False,
        timeout: float = 600.0,
        priority: Any = None,
        progress: Progress | None = None,
    ) -> EmbeddingResponse:
        """Return the vectors of one text or several.

        Args:
            inputs: A text, or a list of texts.
            normalize: Whether vectors get length 1; as the checkpoint says if None.
            truncate: Use the beginning of texts that are longer than the model's context.
            timeout: Seconds that the call may take, waiting included.
            priority: Taken for the sake of one call shape; devices serve callers in turn.
            progress: Called with (texts done, texts in all) on the caller's thread.

        Returns:
            `embeddings` of shape (texts, dimensions), float32, in the order of `inputs`.

        Raises:
            InvalidRequestError: `inputs` is empty or holds something that is not a text.
            ContextLengthError: A text is longer than the model's context.
            ApiTimeoutError: Time is up.
            QueueFullError: Too many calls wait already.
            BackendClosedError: The model was closed.
            ApiError: The device failed.
        """
        del priority
        began = time.perf_counter()
        texts = _check_texts(inputs)
        _check_timeout(timeout)
        runs = self._runs()
        tokenizer = self._tokenizer
        if tokenizer is None:
            tokenizer = self._tokenizer = TextTokenizer(self._spec)
        tokens = tokenizer.encode(texts, truncate=truncate)
        left = max(timeout - (time.perf_counter() - began), 0.0)
        vectors = runs.run(tokens, timeout=left, progress=progress)
        if self._spec.normalize if normalize is None else normalize:
            vectors = _normalized(vectors)
        count = sum(map(len, tokens))
        return EmbeddingResponse(
            embeddings=vectors,
            model=self.model,
            usage=Usage(prompt_tokens=count, total_tokens=count),
            backend=self.device.id,
            latency=time.perf_counter() - began,
            device=self.device.id,
            precision=self.precision,
        )


def _check_timeout(timeout: Any) -> None:
    if not isinstance(timeout, (int, float)) or not timeout > 0:  # NaN is not above 0 either
        raise InvalidRequestError(f"timeout: expected seconds above 0, got {timeout!r}")


def _check_texts(inputs: str | list[str]) -> list[str]:
    if isinstance(inputs, str):
        inputs = [inputs]
        names = ["inputs"]
    elif isinstance(inputs, (list, tuple)):
        inputs, names = list(inputs), []
    else:
        raise InvalidRequestError(
            f"inputs: expected a text or a list of texts, got {type(inputs).__name__}"
        )
    if not inputs:
        raise InvalidRequestError("inputs: the list is empty; give at least one text")
    for index, text in enumerate(inputs):
        name = names[0] if names else f"inputs[{index}]"
        if not isinstance(text, str):
            raise InvalidRequestError(f"{name}: expected a text, got {type(text).__name__}")
        if not text or text.isspace():
            raise InvalidRequestError(f"{name}: the text is empty; leave it out")
    return inputs


def _normalized(vectors: Any) -> Any:
    import numpy as np

    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    return vectors / np.maximum(lengths, np.float32(1e-12))


MODEL = EmbeddingModel
