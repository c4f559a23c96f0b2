"""How many bytes a model takes once it is loaded and answers: weights, KV cache, activations. Pure arithmetic.

Formulas: keys and values take 2 x layers x KV heads x head size x bytes per value for each token of context
(Pope et al., arXiv:2211.05102, section 3.3). The rest follows how each engine allocates; the constants are
measured and the tests compare them with measurements again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llm.catalogue.entry import Shape
from llm.catalogue.gguf import Tensor

MIB = 1 << 20
BYTES_PER_VALUE: Mapping[str, float] = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "int4": 0.5}
# bitsandbytes' NF4 keeps one float32 scale for each 64 weights (its default block, no double quantisation).
GPU_INT4_BYTES = 0.5 + 4 / 64
# On a CPU a scale and an offset in 16 bits belong to each 32 weights (`llm.engines.transformers.quantized_linear`).
CPU_INT4_BYTES = 0.5 + 4 / 32
# int8 keeps one scale for each row of a matrix: nothing beside the weights themselves.
INT8_BYTES = 1.0

LLAMACPP_UBATCH_TOKENS = 512
PREFILL_STRETCH_TOKENS = 512
TORCH_TOOLS_VALUES = 11 * MIB
"""What torch's kernels keep for themselves, in values of the compute type."""


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


def transformers_weights(parameters: int, shape: Shape, precision: str, on_cpu: bool) -> int:
    """Bytes of a checkpoint's weights as the transformers engine holds them.

    The linear layers of the blocks are quantised; embedding and output stay in 16 bits.
    """
    if precision in ("int8", "int4"):
        inside, outside = split_parameters(parameters, shape)
        int4_bytes = CPU_INT4_BYTES if on_cpu else GPU_INT4_BYTES
        return int(inside * (int4_bytes if precision == "int4" else INT8_BYTES) + outside * 2)
    return int(parameters * BYTES_PER_VALUE[precision])


def transformers_activations(shape: Shape, value_bytes: int, context_tokens: int) -> int:
    """Bytes beside weights and cache while a prompt is read, stretch by stretch."""
    tokens = min(context_tokens, PREFILL_STRETCH_TOKENS)
    width = 3 * shape.intermediate + 6 * shape.hidden + 2 * shape.head_dim * (shape.heads + shape.kv_heads)
    return TORCH_TOOLS_VALUES * value_bytes + tokens * width * value_bytes + shape.vocab * 4 * 4


def llamacpp_activations(shape: Shape) -> int:
    """Bytes of llama.cpp's compute and output buffers as far as they are touched, and of its vocabulary."""
    width = 2 * shape.intermediate + 4 * shape.hidden + 2 * shape.head_dim * (shape.heads + shape.kv_heads)
    return 16 * MIB + LLAMACPP_UBATCH_TOKENS * width * 4 + shape.vocab * 256


def repacked_bytes(tensors: Sequence[Tensor], instruction_sets: Sequence[str]) -> int:
    """Bytes of the matrices that llama.cpp lays out anew for the processor's vector units.

    The output matrix counts, and so does an embedding that serves as one; see `ggml_repack_get_optimal_repack_type`
    in llama.cpp's ggml/src/ggml-cpu/repack.cpp.
    """
    types = _repacked_types(instruction_sets)
    has_output = any(tensor.name == "output.weight" for tensor in tensors)
    return sum(
        tensor.size_bytes
        for tensor in tensors
        if len(tensor.shape) == 2
        and tensor.type in types
        and tensor.shape[1] % 8 == 0
        and not (tensor.name == "token_embd.weight" and has_output)
    )


HELD_TWICE_SHARE = 0.1


def held_twice(tensors: Sequence[Tensor], instruction_sets: Sequence[str]) -> bool:
    """Whether mapping a file would hold much of it twice: as it is, and laid out anew for the processor.

    Read instead of mapped it is held once: 1.25 GB instead of 1.84 GB for Qwen2.5 Coder 1.5B in Q4_K_M.
    """
    return repacked_bytes(tensors, instruction_sets) > HELD_TWICE_SHARE * sum(tensor.size_bytes for tensor in tensors)


def _repacked_types(instruction_sets: Sequence[str]) -> tuple[str, ...]:
    if "avx2" in instruction_sets:
        return ("Q4_0", "Q4_K", "IQ4_NL")
    return ("Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL") if "asimddp" in instruction_sets else ()


def clip_footprint(parameters: int, shape: Shape) -> Footprint:
    """CLIP in float32: two encoders that read one picture and a few captions; nothing is kept between them.

    Its files are mapped, and of the table of tokens only the rows of the captions' words are read.
    """
    return Footprint(4 * (parameters - shape.vocab * shape.hidden), 0, 4 * TORCH_TOOLS_VALUES)


# A window of 30 s is 1500 positions of the encoder (Radford et al., arXiv:2212.04356, section 2.2).
WHISPER_POSITIONS = 1500
WHISPER_HEAD = 64
_WHISPER_WIDTHS = {384: 39e6, 512: 74e6, 768: 244e6, 1024: 769e6, 1280: 1550e6}


def whisper_width(parameters: int) -> int:
    """Model width of the published size with about so many parameters; turbo is as wide as large."""
    if 790e6 < parameters < 900e6:
        return 1280
    return min(_WHISPER_WIDTHS, key=lambda width: abs(_WHISPER_WIDTHS[width] - parameters))


def whisper_footprint(stored_bytes: int, width: int, precision: str, windows: int) -> Footprint:
    """CTranslate2's Whisper: float16 weights converted to `precision`, and the work space of `windows` at once.

    The encoder keeps every head's attention between all positions of a window: that outweighs the model itself.
    """
    weights = int(stored_bytes * BYTES_PER_VALUE[precision] / 2)
    value_bytes = 2 if precision == "float16" else 4
    attention = (width // WHISPER_HEAD) * WHISPER_POSITIONS**2
    layers = 14 * width * WHISPER_POSITIONS  # measured with eight windows, words aligned
    return Footprint(weights, 0, WHISPER_TOOLS_BYTES + windows * (attention + layers) * value_bytes)


WHISPER_TOOLS_BYTES = 80 * MIB
"""Tokenizer, spectrogram, the decoded sound, and what the C library keeps."""
