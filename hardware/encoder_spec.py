"""What a checkpoint says about itself as an encoder of texts: pooling, length, normalisation.

The files are those of sentence-transformers
(https://sbert.net/docs/sentence_transformer/usage/custom_models.html): modules.json,
1_Pooling/config.json, sentence_bert_config.json, config_sentence_transformers.json. Both spellings
of a pooling configuration are read: `pooling_mode_mean_tokens: true` and `pooling_mode: "mean"`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api_backends.errors import ConfigurationError

from .models import ModelEntry, mapped_models

if TYPE_CHECKING:
    from .checkpoints import Checkpoint

__all__ = ["EncoderSpec", "read_encoder_spec"]

POOLINGS = ("cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens", "pooler", "weightedmean")
_OLD_SPELLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# What the largest tokenizer limit means in transformers: "there is none".
_NO_LIMIT = 10**15


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """All that a device needs to know to run a checkpoint as an encoder of texts.

    Attributes:
        checkpoint: Where the files are.
        entry: What is known about the model's type.
        pooling: How tokens become vectors; several are put one after the other.
        normalize: Whether the checkpoint says that vectors have length 1.
        max_length: Tokens of the longest text, special tokens included.
        dimensions: Length of a vector.
        pad_id: Token that fills up shorter texts.
        prompt: Text that the checkpoint puts before every input, usually none.
    """

    checkpoint: Checkpoint
    entry: ModelEntry
    pooling: tuple[str, ...]
    normalize: bool
    max_length: int
    dimensions: int
    pad_id: int
    prompt: str


def read_encoder_spec(checkpoint: Checkpoint) -> EncoderSpec:
    """Return what `checkpoint` says about itself.

    Raises:
        ConfigurationError: Its type is not in mapped_models.json, or it has a part that we lack.
    """
    entry = find_entry(checkpoint)
    config = checkpoint.config
    pooling, normalize = _read_modules(checkpoint, entry)
    dimensions = config.get(entry.dimensions)
    if not isinstance(dimensions, int) or dimensions < 1:
        raise ConfigurationError(
            f"model: config.json of {checkpoint.model!r} has no usable {entry.dimensions!r}: it "
            "is damaged or of another type than it says",
            model=checkpoint.model,
        )
    return EncoderSpec(
        checkpoint=checkpoint,
        entry=entry,
        pooling=pooling,
        normalize=normalize,
        max_length=_max_length(checkpoint, entry),
        dimensions=dimensions * len(pooling),
        pad_id=int(config.get("pad_token_id") or 0),
        prompt=_prompt(checkpoint),
    )


def find_entry(checkpoint: Checkpoint) -> ModelEntry:
    """Return what mapped_models.json says about the checkpoint's type.

    Raises:
        ConfigurationError: It has no such type.
    """
    model_type = checkpoint.config.get("model_type")
    entries = mapped_models()
    if model_type not in entries:
        raise ConfigurationError(
            f"model: {checkpoint.model!r} is of type {model_type!r}, which does not run here; "
            f"mapped_models.json has {', '.join(sorted(entries))}",
            model=checkpoint.model,
        )
    return entries[str(model_type)]


def _read_modules(checkpoint: Checkpoint, entry: ModelEntry) -> tuple[tuple[str, ...], bool]:
    modules = checkpoint.read_json("modules.json")
    if modules is None:  # a plain transformers checkpoint: as sentence-transformers treats it
        return (entry.pooling,), False
    pooling: tuple[str, ...] = (entry.pooling,)
    normalize = False
    for module in modules["modules"]:
        kind = str(module.get("type", "")).rsplit(".", 1)[-1]
        if kind == "Pooling":
            pooling = _read_pooling(checkpoint, f"{module['path']}/config.json")
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            raise ConfigurationError(
                f"model: {checkpoint.model!r} has a {kind} module after its encoder, which is not "
                "supported: use sentence-transformers for this one",
                model=checkpoint.model,
            )
    return pooling, normalize


def _read_pooling(checkpoint: Checkpoint, path: str) -> tuple[str, ...]:
    data = checkpoint.read_json(path)
    if data is None:
        raise ConfigurationError(
            f"model: {checkpoint.model!r} lacks {path}, which its modules.json names",
            model=checkpoint.model,
        )
    named = data.get("pooling_mode")
    if named is None:
        named = [mode for key, mode in _OLD_SPELLINGS.items() if data.get(key)]
    modes = tuple([named] if isinstance(named, str) else named)
    unknown = [mode for mode in modes if mode not in POOLINGS]
    if unknown or not modes:
        raise ConfigurationError(
            f"model: {path} of {checkpoint.model!r} asks for pooling {unknown or 'of no kind'}; "
            f"known are {', '.join(POOLINGS)}",
            model=checkpoint.model,
        )
    return modes


def _max_length(checkpoint: Checkpoint, entry: ModelEntry) -> int:
    """Return the most tokens that the model takes, as sentence-transformers derives it."""
    config = checkpoint.config
    limits = []
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and positions > 0:
        reserved = int(config.get("pad_token_id") or 0) + 1 if entry.positions_after_padding else 0
        limits.append(positions - reserved)
    sentence = checkpoint.read_json("sentence_bert_config.json") or {}
    tokenizer = checkpoint.read_json("tokenizer_config.json") or {}
    named = (sentence.get("max_seq_length"), tokenizer.get("model_max_length"))
    limits += [int(n) for n in named if isinstance(n, (int, float)) and 0 < n < _NO_LIMIT]
    return min(limits, default=512)


def _prompt(checkpoint: Checkpoint) -> str:
    data: dict[str, Any] = checkpoint.read_json("config_sentence_transformers.json") or {}
    name = data.get("default_prompt_name")
    return str((data.get("prompts") or {}).get(name) or "") if name else ""
