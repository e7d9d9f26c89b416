"""Small models of every mapped type, built from their configuration classes by seed.

Nothing is downloaded. Weights get noise on top of their initial values, which are so near to zero
that a comparison of what comes out would prove nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

WORDS = [
    "the", "a", "of", "and", "to", "in", "is", "that", "it", "for", "on", "with", "as",
    "this", "by", "from", "or", "an", "be", "are", "not", "model", "text", "word", "device",
    "answer", "question", "token", "batch", "thread", "queue", "line", "server", "key",
    "file", "folder", "test", "number", "one", "two", "three", "red", "green", "blue",
    "small", "large", "fast", "slow", "old", "new", "good", "bad", "day", "night", "sun",
    "moon", "sea", "tree",
]  # fmt: skip
_SPECIAL = ("[CLS]", "[SEP]", "[UNK]")
TEXTS = [
    "the sun is large and the moon is small",
    "a red tree by the sea",
    "answer this question in one word or two and not in three for that is slow",
    "night",
    "the old server is not fast but the new device is and that is good for the batch and the queue",
    "a test of one number",
]

# What each configuration class needs to be small; the rest is the class's own default.
_WIDTH = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_BERT = {**_WIDTH, "intermediate_size": 64, "max_position_embeddings": 96}
_SIZES: dict[str, dict[str, Any]] = {
    "distilbert": {
        "dim": 32,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 64,
        "max_position_embeddings": 96,
    },
    "albert": {**_BERT, "embedding_size": 16},
    "electra": {**_BERT, "embedding_size": 16},
    "mobilebert": {
        **_BERT,
        "embedding_size": 16,
        "intra_bottleneck_size": 16,
        "num_feedforward_networks": 2,
    },
    "squeezebert": {**_BERT, "embedding_size": 32},
    "deberta": {**_BERT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {
        **_BERT,
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
    },
}


def build_tiny_model(model_type: str, folder: Path, *, pooling: str | None = None) -> Path:
    """Write a model of `model_type` with its tokenizer into `folder` and return it.

    Args:
        model_type: A type of mapped_models.json.
        folder: Where to; made if absent.
        pooling: With sentence-transformers' files for this pooling, normalised; None: without.
    """
    import torch
    import transformers

    from hardware import mapped_models

    transformers.utils.logging.disable_progress_bar()
    entry = mapped_models()[model_type]
    config_class = transformers.AutoConfig.for_model(model_type).__class__
    pad = config_class().pad_token_id or 0
    config = config_class(
        **_SIZES.get(model_type, _BERT), vocab_size=len(WORDS) + len(_SPECIAL) + pad + 1
    )
    if "pad_token_id" not in config.to_dict() or config.pad_token_id is None:
        config.pad_token_id = pad
    torch.manual_seed(7)
    factory = getattr(transformers, entry.class_name)
    make = factory.from_config if entry.class_name.startswith("Auto") else factory
    model = make(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    _write_tokenizer(folder, pad)
    if pooling is not None:
        _write_sentence_files(folder, pooling)
    return folder


def _write_tokenizer(folder: Path, pad: int) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    fill = [f"[unused{index}]" for index in range(pad)]
    tokens = [*fill, "[PAD]", *_SPECIAL, *WORDS]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def _write_sentence_files(folder: Path, pooling: str) -> None:
    parts = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(parts)
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"pooling_mode": pooling}), encoding="utf-8"
    )


def reference_vectors(folder: Path, texts: list[str]) -> Any:
    """Return what transformers itself computes, one text at a time, shape (texts, dimensions).

    Mean of the last hidden states, or the pooler's output where the type's entry says so. One
    text at a time: no padding, no mask, nothing of ours.
    """
    import numpy as np
    import torch
    import transformers
    from tokenizers import Tokenizer

    from hardware import mapped_models

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    entry = mapped_models()[config["model_type"]]
    model = getattr(transformers, entry.class_name).from_pretrained(folder).float().eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    vectors = []
    for text in texts:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.inference_mode():
            output = model(input_ids=ids)
        vector = output.pooler_output if entry.pooling == "pooler" else output[0].mean(1)
        vectors.append(vector[0].numpy())
    return np.stack(vectors)
