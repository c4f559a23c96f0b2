"""Decode speed of the older families beside transformers' own class of the same size, in the same minutes.

    python -m benchmarks.families [--rounds 30] [--only qwen]

Random weights of about 300 million parameters in each family's shape; one answer at a time, through the
engine's own steps. A ratio of 1 says that the family pays nothing for its age.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from llm.cancel import Cancel
from llm.checkpoints.baichuan_model import BaichuanAlibiForCausalLM, BaichuanForCausalLM, baichuan_config
from llm.checkpoints.chatglm2_model import ChatGLM2ForCausalLM, glm_config
from llm.checkpoints.chatglm_model import ChatGLMConfig, ChatGLMForCausalLM
from llm.checkpoints.qwen_model import QwenForCausalLM, qwen_config
from llm.engines.transformers.decoder import Batch, Decoder
from llm.engines.transformers.placement import has_bfloat16_instructions
from llm.engines.transformers.request import Request, Row
from llm.settings import GenerationSettings

HIDDEN, LAYERS, HEADS, INNER, VOCABULARY = 1024, 24, 16, 2816, 8192
PROMPT_TOKENS = 64
WARM_UP_STEPS = 3


@dataclass(frozen=True)
class Pair:
    """A family's network and the native one of its size."""

    name: str
    family: Callable[[], Any]
    native: Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="steps of each model, taken in turns")
    parser.add_argument("--only", default="", help="the families whose names begin so")
    options = parser.parse_args()
    dtype = torch.bfloat16 if torch.cuda.is_available() or has_bfloat16_instructions() else torch.float32
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{device}, {str(dtype).removeprefix('torch.')}, {torch.get_num_threads()} threads, {options.rounds} rounds")
    print(f"{'family':14} {'parameters':>10} {'tokens/s':>9} {'native':>9} {'ratio':>6}")
    for pair in pairs():
        if pair.name.startswith(options.only):
            print(compare(pair, device, dtype, options.rounds), flush=True)
            gc.collect()


@torch.inference_mode()
def compare(pair: Pair, device: str, dtype: torch.dtype, rounds: int) -> str:
    """One line of the table. The two take their steps in turns, so that both live through the same machine."""
    models = [make().to(device, dtype).eval() for make in (pair.family, pair.native)]
    batches = [_answering(model) for model in models]
    seconds: list[list[float]] = [[], []]
    for round_number in range(rounds + WARM_UP_STEPS):
        for batch, times in zip(batches, seconds, strict=True):
            began = time.perf_counter()
            chosen = batch.step().argmax(-1).tolist()
            if round_number >= WARM_UP_STEPS:
                times.append(time.perf_counter() - began)
            batch.advance()
            batch.rows[0].ids.append(chosen[0])
    family_s, native_s = map(statistics.median, seconds)
    parameters = sum(parameter.numel() for parameter in models[0].parameters())
    return (
        f"{pair.name:14} {parameters / 1e6:8.0f} M {1 / family_s:9.2f} {1 / native_s:9.2f} {native_s / family_s:6.3f}"
    )


def _answering(model: Any) -> Batch:
    """The engine's batch with one answer of which the prompt has been read."""
    ids = tuple(100 + place * 37 % 4000 for place in range(PROMPT_TOKENS))
    row = Row.of(Request(ids, {}, GenerationSettings(), frozenset(), 1000, Cancel()))
    decoder = Decoder(model)
    logits = decoder.prefill(row, len(ids))
    row.ids.append(int(logits.argmax()))
    batch = Batch(decoder)
    batch.join(row)
    return batch


def pairs() -> list[Pair]:
    def llama() -> Any:
        return LlamaForCausalLM(LlamaConfig(**_measures(), num_key_value_heads=HEADS))

    def qwen2(groups: int) -> Any:
        return Qwen2ForCausalLM(Qwen2Config(**_measures(), num_key_value_heads=groups, tie_word_embeddings=False))

    return [
        Pair("chatglm3", lambda: ChatGLM2ForCausalLM(glm_config(_CHATGLM3)), lambda: qwen2(2)),
        Pair("qwen", lambda: QwenForCausalLM(qwen_config(_QWEN)), lambda: qwen2(HEADS)),
        Pair("baichuan2-7b", lambda: BaichuanForCausalLM(baichuan_config(_BAICHUAN)), llama),
        Pair("baichuan2-13b", lambda: BaichuanAlibiForCausalLM(baichuan_config(_BAICHUAN)), llama),
        Pair("chatglm-6b", lambda: ChatGLMForCausalLM(ChatGLMConfig.of(_CHATGLM)), llama),
    ]


def _measures() -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
    }


_CHATGLM3 = {
    "padded_vocab_size": VOCABULARY, "hidden_size": HIDDEN, "ffn_hidden_size": INNER, "num_layers": LAYERS,
    "num_attention_heads": HEADS, "multi_query_attention": True, "multi_query_group_num": 2,
    "kv_channels": HIDDEN // HEADS, "seq_length": 8192, "layernorm_epsilon": 1e-5,
}  # fmt: skip
_QWEN = {
    "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": 2 * INNER, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "kv_channels": HIDDEN // HEADS, "seq_length": 2048, "layer_norm_epsilon": 1e-6,
}  # fmt: skip
_BAICHUAN = {**_measures(), "max_position_embeddings": 4096, "rms_norm_eps": 1e-6}
_CHATGLM = {
    "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "inner_hidden_size": 4 * HIDDEN, "num_layers": LAYERS,
    "num_attention_heads": HEADS, "layernorm_epsilon": 1e-5, "max_sequence_length": 2048, "bos_token_id": 1,
    "eos_token_id": 2, "mask_token_id": 4, "gmask_token_id": 5,
}  # fmt: skip

if __name__ == "__main__":
    main()
