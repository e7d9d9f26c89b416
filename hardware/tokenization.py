"""Texts to token ids by the checkpoint's own tokenizer.json, without transformers."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from api_backends.errors import ConfigurationError, ContextLengthError, InvalidRequestError

from .devices import LOCAL_EXTRA, OPENVINO_EXTRA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .encoder_spec import EncoderSpec

__all__ = ["TextTokenizer"]


class TextTokenizer:
    """The tokenizer of one checkpoint; may be used from any thread.

    Args:
        spec: The checkpoint, and the longest text that it takes.

    Raises:
        ConfigurationError: There is no usable tokenizer.json, or `tokenizers` isn't installed.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        self._spec = spec
        model, path = spec.checkpoint.model, spec.checkpoint.folder / "tokenizer.json"
        if find_spec("tokenizers") is None:
            raise ConfigurationError(
                f"the package tokenizers is not installed: {LOCAL_EXTRA} or {OPENVINO_EXTRA}"
            )
        if not path.is_file():
            raise ConfigurationError(
                f"model: {model!r} has no tokenizer.json: make one with transformers "
                "(AutoTokenizer.from_pretrained(folder).save_pretrained(folder))",
                model=model,
            )
        import tokenizers

        def read() -> Any:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
            tokenizer.no_padding()
            tokenizer.no_truncation()
            return tokenizer

        try:
            self._tokenizer, self._cutting = read(), read()
        except Exception as error:
            raise ConfigurationError(
                f"model: {path} is damaged ({error}): download it again", model=model
            ) from error
        self._cutting.enable_truncation(spec.max_length)

    def encode(self, texts: Sequence[str], *, truncate: bool) -> list[list[int]]:
        """Return the token ids of each text, special tokens included.

        Raises:
            ContextLengthError: A text has more tokens than the model takes, and `truncate` is off.
            InvalidRequestError: A text is not valid Unicode.
        """
        prompt, limit = self._spec.prompt, self._spec.max_length
        if prompt:
            texts = [prompt + text for text in texts]
        encoded = _run(self._tokenizer, texts)
        long = [index for index, ids in enumerate(encoded) if len(ids) > limit]
        if long and not truncate:
            first = long[0]
            raise ContextLengthError(
                f"inputs[{first}] has {len(encoded[first])} tokens and the model takes {limit}: "
                "shorten it, split it, or pass truncate=True to use its beginning",
                model=self._spec.checkpoint.model,
            )
        for index, ids in zip(long, _run(self._cutting, [texts[i] for i in long]), strict=True):
            encoded[index] = ids
        return encoded


def _run(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    if not texts:
        return []
    try:
        if len(texts) == 1:
            return [tokenizer.encode(texts[0]).ids]
        return [each.ids for each in tokenizer.encode_batch_fast(texts)]
    except (TypeError, UnicodeError) as error:
        raise InvalidRequestError(
            f"inputs: a text can't be encoded as UTF-8 ({error}): it holds half of a surrogate pair"
        ) from error
