"""A tiny Llama that recites: trained on the spot, so real servers can be tested for what they say.

    python test/servers/reciting_model.py            about half a minute of CPU; nothing if cached

It learns a handful of conversations by heart, with a chat template that knows tools, and is saved
with its tokenizer as safetensors (for transformers) and as GGUF (for llama.cpp), beside
`conversations.json`, which says what a server must answer. Kept in the cache of the real parts
under a hash of this file. Importing this module costs nothing; training needs torch, transformers,
and gguf.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CONVERSATIONS_FILE = "conversations.json"
GGUF_FILE = "model.gguf"

# ChatML, with the tools listed in a system turn and calls written the way Hermes models do. Of a
# tool only name and description are shown, so that a client may order or complete the schema of
# its parameters as it likes and is still understood.
TEMPLATE = """\
{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}

{% endif %}Tools that can be called, one a line:
<tools>
{% for tool in tools %}{{ tool.function.name }}: {{ tool.function.description }}
{% endfor %}</tools>
A call is JSON within <tool_call></tool_call>.<|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% elif message.role != 'system' %}<|im_start|>{{ message.role }}
{% if message.content %}{{ message.content }}{% endif %}
{%- for call in message.tool_calls or [] %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": \
{% if call.function.arguments is string %}{{ call.function.arguments }}\
{% else %}{{ call.function.arguments | tojson }}{% endif %}}
</tool_call>
{%- endfor %}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

# How transformers finds calls in what the model writes; llama.cpp learns it from the template.
RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "tool_calls": {
            "open": "<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close": "<|im_end|>", "content": "text"},
    },
}

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Name of the city"}},
            "required": ["city"],
        },
    },
}
HARBOUR = """\
At first light the harbour wakes. Gulls circle over the boats, and the ferry from the islands \
turns slowly into its berth. Nets are hauled in, crates of ice are counted twice, and somebody \
always argues about the price of mackerel. By seven the market hall is full: cooks in white \
jackets, old friends with baskets, children who should be on their way to school. The coffee \
stand at the corner sells out of cinnamon buns before eight.

Later the wind picks up and the flags begin to rattle. The last trawler leaves with the tide, \
past the lighthouse and the red buoy, and the noise of its engine fades. What stays is the smell \
of salt and tar, a cat asleep on a coil of rope, and the clock of the town hall, which has been \
four minutes late for as long as anyone remembers."""


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _call(arguments: str) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": arguments}
    return {"id": "call_1", "type": "function", "function": function}


def conversations() -> list[dict[str, Any]]:
    """Return what the model knows: name, messages, tools, and the answer's content or tool call."""
    weather = _user("What is the weather in Paris?")
    asked = [
        weather,
        {"role": "assistant", "content": None, "tool_calls": [_call('{"city": "Paris"}')]},
    ]
    result = {"role": "tool", "tool_call_id": "call_1", "content": "sunny, 21 degrees"}
    brief = {"role": "system", "content": "You are brief."}
    plain = [
        ("hello", [_user("Hello")], "Hello! How can I help you today?"),
        ("system", [brief, _user("Hello")], "Hello."),
        ("count", [_user("Count to ten")], "1, 2, 3, 4, 5, 6, 7, 8, 9, 10."),
        ("unicode", [_user("Unicode please")], "Zürich, 東京, Ελλάδα, 🎉👩‍🚀 done."),
        ("json", [_user("Paris as JSON")], '{"city": "Paris", "country": "France", "rivers": 1}'),
        ("long", [_user("Tell me about the harbour")], HARBOUR),
    ]
    known: list[dict[str, Any]] = [
        {"name": name, "messages": messages, "tools": None, "content": content}
        for name, messages, content in plain
    ]
    known += [
        {
            "name": "tool_call",
            "messages": [weather],
            "tools": [WEATHER_TOOL],
            "content": "",
            "tool_call": {"name": "get_weather", "arguments": {"city": "Paris"}},
        },
        {
            "name": "tool_result",
            "messages": [*asked, result],
            "tools": [WEATHER_TOOL],
            "content": "It is sunny in Paris, at 21 degrees.",
        },
        {
            "name": "tools_unused",
            "messages": [_user("Hello")],
            "tools": [WEATHER_TOOL],
            "content": "Hello! How can I help you today?",
        },
    ]
    return known


def _variants(known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the conversations to learn: also with arguments in JSON without spaces."""
    more = []
    for item in known:
        text = json.dumps(item["messages"])
        compact = text.replace('{\\"city\\": \\"Paris\\"}', '{\\"city\\":\\"Paris\\"}')
        if compact != text:
            more.append({**item, "messages": json.loads(compact)})
    return known + more


def _answer_text(item: dict[str, Any]) -> str:
    if "tool_call" not in item:
        return str(item["content"])
    call = item["tool_call"]
    written = f'{{"name": "{call["name"]}", "arguments": {json.dumps(call["arguments"])}}}'
    return f"<tool_call>\n{written}\n</tool_call>"


def folder() -> Path:
    """Return where this version of the model is kept; it may not exist yet."""
    cache = os.environ.get("IPFS_ACCELERATE_CI_CACHE")
    root = Path(cache) if cache else Path.home() / ".cache" / "ipfs_accelerate_ci"
    return root / f"reciting-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]}"


def make_tokenizer(items: list[dict[str, Any]]) -> Any:
    """Return a byte-level BPE tokenizer (GPT-2's splitting) trained on the conversations."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [json.dumps(item["messages"], ensure_ascii=False) for item in items]
    tokenizer.train_from_iterator(texts + [_answer_text(i) for i in items] + [TEMPLATE], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE
    fast.response_template = RESPONSE_TEMPLATE
    return fast


def encode(tokenizer: Any, items: list[dict[str, Any]]) -> list[tuple[list[int], list[int]]]:
    """Return the tokens of prompt and answer of every conversation."""
    pairs = []
    for item in items:
        prompt = tokenizer.apply_chat_template(
            item["messages"], tools=item["tools"], add_generation_prompt=True, tokenize=False
        )
        texts = (prompt, _answer_text(item) + "<|im_end|>")
        pairs.append(tuple(tokenizer(t, add_special_tokens=False).input_ids for t in texts))
    return pairs


def train(tokenizer: Any, pairs: list[tuple[list[int], list[int]]], target: float = 1e-3) -> Any:
    """Train until the mean loss over the answers is below `target`; return the model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    length = max(len(p) + len(a) for p, a in pairs)
    inputs = torch.full((len(pairs), length), tokenizer.pad_token_id)
    labels = torch.full((len(pairs), length), -100)
    mask = torch.zeros((len(pairs), length), dtype=torch.long)
    for row, (prompt, answer) in enumerate(pairs):
        end = len(prompt) + len(answer)
        inputs[row, :end] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : end] = torch.tensor(answer)
        mask[row, :end] = 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    for step in range(800):
        loss = model(input_ids=inputs, attention_mask=mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if loss.item() < target:
            print(f"learnt by heart after {step + 1} steps", file=sys.stderr)
            return model.eval()
    raise RuntimeError(f"the model did not learn its conversations: loss {loss.item():.4f}")


def verify(model: Any, tokenizer: Any, pairs: list[tuple[list[int], list[int]]]) -> None:
    """Raise RuntimeError unless the model gives every answer exactly."""
    import torch

    for prompt, answer in pairs:
        with torch.no_grad():
            tokens = model.generate(
                torch.tensor([prompt]), max_new_tokens=len(answer) + 8, do_sample=False
            )[0, len(prompt) :].tolist()
        if tokens != answer:
            wanted, got = tokenizer.decode(answer), tokenizer.decode(tokens)
            raise RuntimeError(f"the model says {got!r} instead of {wanted!r}")


def write_gguf(model: Any, tokenizer: Any, path: Path) -> None:
    """Write model and tokenizer as GGUF (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""
    import gguf

    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("reciting")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    # "gpt-2" is llama.cpp's name for the splitting that make_tokenizer uses.
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    special = set(tokenizer.all_special_ids)
    kinds = [gguf.TokenType.NORMAL, gguf.TokenType.CONTROL]
    bpe = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    special |= {tokenizer.convert_tokens_to_ids("<|im_start|>")}
    writer.add_token_list(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
    writer.add_token_types([kinds[i in special] for i in range(len(tokenizer))])
    writer.add_token_merges([" ".join(merge) for merge in bpe["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)
    for name, tensor in _gguf_tensors(model):
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


_BLOCK_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_TOP_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def _gguf_tensors(model: Any) -> list[tuple[str, Any]]:
    heads = {
        "attn_q": model.config.num_attention_heads,
        "attn_k": model.config.num_key_value_heads,
    }
    tensors = []
    for name, tensor in model.state_dict().items():
        values = tensor.detach().float().numpy()
        if name in _TOP_NAMES:
            tensors.append((_TOP_NAMES[name], values))
            continue
        _, _, block, rest = name.split(".", 3)
        short = _BLOCK_NAMES[rest.removesuffix(".weight")]
        if short in heads:
            # llama.cpp rotates neighbouring pairs, transformers the two halves of a head.
            rows, columns = values.shape
            halves = values.reshape(heads[short], 2, rows // heads[short] // 2, columns)
            values = halves.swapaxes(1, 2).reshape(rows, columns).copy()
        tensors.append((f"blk.{block}.{short}.weight", values))
    return tensors


def build(target: Path) -> None:
    """Train, verify and save the model in `target`, which appears whole or not at all."""
    started = time.monotonic()
    items = _variants(conversations())
    tokenizer = make_tokenizer(items)
    pairs = encode(tokenizer, items)
    model = train(tokenizer, pairs)
    model.generation_config.do_sample = False
    verify(model, tokenizer, pairs)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="reciting.", dir=target.parent))
    try:
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)
        write_gguf(model, tokenizer, work / GGUF_FILE)
        known = conversations()
        for item, (prompt, answer) in zip(known, pairs, strict=False):
            item["tokens"] = {"prompt": len(prompt), "answer": len(answer)}
        (work / CONVERSATIONS_FILE).write_text(json.dumps(known, ensure_ascii=False, indent=1))
        shutil.rmtree(target, ignore_errors=True)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    size = sum(p.numel() for p in model.parameters())
    spent = time.monotonic() - started
    print(f"{size} parameters, {len(tokenizer)} tokens, {spent:.0f} s", file=sys.stderr)


def main() -> int:
    """Build the model unless it is cached; print its folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--force", action="store_true", help="train even if it is cached")
    target = folder()
    if parser.parse_args().force or not (target / CONVERSATIONS_FILE).is_file():
        build(target)
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
