"""Tiny random checkpoints in the published layouts, made in code, and tokenizers of several kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.byte_level import byte_level_bpe

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
    " + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content']"
    " + ' [/INST]' }}{% else %}{{ ' ' + message['content'] + ' ' + eos_token + bos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + message['role'] + '\n' + message['content']"
    " + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
CORPUS = [
    "The cat sat on the mat. Once upon a time there was a small red house by the sea, and nobody lived in it.",
    "def main():\n    print('hello world')\n\n\nif __name__ == '__main__':\n    main()\n",
    "今天天气很好，我们去公园散步吧。模型可以回答问题，也可以写代码。",
    "user\nassistant\nsystem\nmodel\n [INST] [/INST]  two spaces   three\ttab im_start im_end start of turn < | > s",
]


def byte_level(vocabulary: int = 480) -> PreTrainedTokenizerFast:
    """GPT-2's kind: byte-level BPE, with ChatML tags."""
    tokenizer = byte_level_bpe(CORPUS * 3, vocabulary, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("<|fim|>", normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML
    )


def sentencepiece_bpe(prepend: str) -> PreTrainedTokenizerFast:
    """Llama-2's kind: BPE over words that begin with `▁`, unknown characters as bytes.

    `prepend`: legacy (a normalizer puts a space before every stretch between tags), first, always or never.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if prepend == "legacy":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend, split=False)
    tags = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=620, special_tokens=tags + [f"<0x{byte:02X}>" for byte in range(256)], show_progress=False
    )
    tokenizer.train_from_iterator([line.replace(" ", "▁") for line in CORPUS * 3], trainer)
    # Training marked the bytes as special; in the published files only the tags are.
    state = _state(tokenizer)
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in tags]
    tokenizer = _from_state(state)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=LLAMA2
    )


def gemma_like() -> PreTrainedTokenizerFast:
    """Gemma's kind: spaces become `▁`, nothing is prepended, and runs of line ends are added tokens, not tags."""
    base = sentencepiece_bpe("never").backend_tokenizer
    state = _state(base)
    state["pre_tokenizer"] = None
    state["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    tokenizer = _from_state(state)
    tokenizer.add_special_tokens(["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ("\n\n", "\n\n\n", "<table>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", chat_template=GEMMA
    )


def unigram() -> PreTrainedTokenizerFast:
    """T5's and XLM-R's kind: a unigram model, whose vocabulary holds the tags like any other piece."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=260, special_tokens=["<unk>", "<s>", "</s>", "<user>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    template = "{% for message in messages %}{{ '<user>' + message['content'] + '</s>' }}{% endfor %}"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=template
    )


def phi_like() -> PreTrainedTokenizerFast:
    """Phi-3's kind: Llama's tokenizer with tags that swallow the white space after them."""
    tokenizer = sentencepiece_bpe("legacy").backend_tokenizer
    tags = ("<|user|>", "<|assistant|>", "<|end|>")
    tokenizer.add_special_tokens([AddedToken(tag, rstrip=True, normalized=False) for tag in tags])
    template = (
        "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<|end|>", unk_token="<unk>", chat_template=template
    )


TOKENIZERS = {
    "byte-level": byte_level,
    "llama legacy": lambda: sentencepiece_bpe("legacy"),
    "llama first": lambda: sentencepiece_bpe("first"),
    "llama always": lambda: sentencepiece_bpe("always"),
    "gemma": gemma_like,
    "unigram": unigram,
    "phi": phi_like,
}

_SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
_ROTARY = {**_SIZES, "num_key_value_heads": 2, "max_position_embeddings": 512}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _ROTARY),
    "qwen2": ("Qwen2Config", _ROTARY),
    "qwen2 sliding": (
        "Qwen2Config",
        {**_ROTARY, "use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1},
    ),
    "mistral sliding": ("MistralConfig", {**_ROTARY, "sliding_window": 10}),
    "gemma": ("GemmaConfig", {**_ROTARY, "head_dim": 16, "tie_word_embeddings": False}),
    "gemma2": (
        "Gemma2Config",
        {**_ROTARY, "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16, "tie_word_embeddings": False},
    ),
    "gpt_bigcode": ("GPTBigCodeConfig", {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 512}),
    "bloom": ("BloomConfig", {"hidden_size": 64, "n_layer": 3, "n_head": 4, "tie_word_embeddings": False}),
    "mpt": ("MptConfig", {"d_model": 64, "n_layers": 3, "n_heads": 4, "max_seq_len": 512, "expansion_ratio": 2}),
    "gpt2": ("GPT2Config", {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 512}),
    "opt": ("OPTConfig", {**_SIZES, "ffn_dim": 96, "word_embed_proj_dim": 64, "max_position_embeddings": 512}),
    "phi3": ("Phi3Config", {**_ROTARY, "pad_token_id": 0}),
    "glm4": ("Glm4Config", {**_ROTARY, "head_dim": 16, "pad_token_id": 0}),
    "mamba": ("MambaConfig", {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8}),
}


def save_checkpoint(
    folder: Path, kind: str, tokenizer: PreTrainedTokenizerFast | None = None, seed: int = 0, **changes: Any
) -> Path:
    """Writes a random checkpoint of an architecture, with spread-out logits, in float32."""
    tokenizer = tokenizer or byte_level()
    config_name, sizes = ARCHITECTURES[kind]
    eos = tokenizer.eos_token_id
    values = {**sizes, "vocab_size": len(tokenizer), "eos_token_id": eos, "bos_token_id": None, **changes}
    config = getattr(transformers, config_name)(**values)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Far from the initial near-uniform output, so that the likeliest token is never a matter of rounding.
            if parameter.dim() > 1 and "A_log" not in name:
                parameter.mul_(4.0)
    model.generation_config.eos_token_id = eos
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _state(tokenizer: Tokenizer) -> dict[str, Any]:
    import json

    return json.loads(tokenizer.to_str())


def _from_state(state: dict[str, Any]) -> Tokenizer:
    import json

    return Tokenizer.from_str(json.dumps(state))
