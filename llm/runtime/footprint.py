"""How many bytes a model takes once it is loaded and answers: weights, KV cache, activations. Pure arithmetic.

Formulas: keys and values take 2 x layers x KV heads x head size x bytes per value for each token of context
(Pope et al., arXiv:2211.05102, section 3.3). The rest follows how each engine allocates; the constants are
measured and the tests compare them with measurements again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llm.catalogue.entry import Shape

MIB = 1 << 20
BYTES_PER_VALUE: Mapping[str, float] = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "int4": 0.5}
# NF4 keeps one float32 scale for each 64 weights (bitsandbytes' default block, no double quantisation).
INT4_BYTES = 0.5 + 4 / 64
# int8 keeps one float32 scale for each row of a matrix: nothing beside the weights themselves.
INT8_BYTES = 1.0

LLAMACPP_UBATCH_TOKENS = 512
PREFILL_STRETCH_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes by purpose."""

    weights_bytes: int
    kv_bytes: int
    activation_bytes: int


def kv_bytes_per_token(shape: Shape, value_bytes: float = 2) -> int:
    """Bytes of keys and values for one token of context. Shapes that are not known count by a rule of thumb."""
    if shape.layers and shape.kv_heads and shape.head_dim:
        return int(2 * shape.layers * shape.kv_heads * shape.head_dim * value_bytes)
    return 0


def guessed_shape(parameters: int) -> Shape:
    """A shape for a model of which only the number of parameters is known.

    Width and depth of the usual decoders: parameters = 12 x layers x hidden^2 with hidden = 128 x layers
    (Kaplan et al., arXiv:2001.08361), four queries to a key.
    """
    layers = max(2, round((parameters / (12 * 128**2)) ** (1 / 3)))
    hidden = 128 * layers
    heads = max(1, hidden // 128)
    return Shape(layers, hidden, heads, max(1, heads // 4), 128, 4 * hidden, 32_000)


def split_parameters(parameters: int, shape: Shape) -> tuple[int, int]:
    """(inside the blocks, in embedding and output matrix). The latter stay in 16 or 32 bits when quantised.

    Whether both matrices share their numbers follows from what is left beside the blocks.
    """
    table = shape.vocab * shape.hidden
    attention = shape.hidden * shape.head_dim * 2 * (shape.heads + shape.kv_heads)
    blocks = shape.layers * (attention + 3 * shape.hidden * shape.intermediate)
    tables = 2 if parameters - blocks > 1.5 * table else 1
    outside = min(parameters, tables * table)
    return parameters - outside, outside


def transformers_weights(parameters: int, shape: Shape, precision: str, compute_bytes: int) -> int:
    """Bytes of a checkpoint's weights as the transformers engine holds them.

    bitsandbytes quantises the linear layers of the blocks; embedding and output stay in the compute type.
    """
    if precision in ("int8", "int4"):
        inside, outside = split_parameters(parameters, shape)
        packed = INT4_BYTES if precision == "int4" else INT8_BYTES
        return int(inside * packed + outside * compute_bytes)
    return int(parameters * BYTES_PER_VALUE[precision])


def transformers_activations(shape: Shape, value_bytes: int, context_tokens: int) -> int:
    """Bytes beside weights and cache while a prompt is read, stretch by stretch."""
    tokens = min(context_tokens, PREFILL_STRETCH_TOKENS)
    width = 3 * shape.intermediate + 6 * shape.hidden + 2 * shape.head_dim * (shape.heads + shape.kv_heads)
    return tokens * width * value_bytes + shape.vocab * 4 * 4


def llamacpp_activations(shape: Shape) -> int:
    """Bytes of llama.cpp's compute and output buffers as far as they are touched, and of its vocabulary."""
    width = 2 * shape.intermediate + 4 * shape.hidden + 2 * shape.head_dim * (shape.heads + shape.kv_heads)
    return 16 * MIB + LLAMACPP_UBATCH_TOKENS * width * 4 + shape.vocab * 256


def whisper_footprint(stored_bytes: int, precision: str, stored_value_bytes: int = 2) -> Footprint:
    """CTranslate2's Whisper: weights converted to the compute type, and the work space of one window of 30 s."""
    ratio = BYTES_PER_VALUE.get(precision, 2) / stored_value_bytes
    weights = int(stored_bytes * ratio)
    return Footprint(weights, 0, int(60 * MIB + 0.5 * stored_bytes))
