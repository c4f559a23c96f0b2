"""How a freshly loaded model may be driven, found out by trying it: correctness first, then speed."""

from __future__ import annotations

import logging
import time
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from llm.cancel import Cancel
from llm.engines.transformers.cache import RoomyCache
from llm.engines.transformers.decoder import Batch, Decoder
from llm.engines.transformers.request import Request, Row
from llm.engines.transformers.scheduler import Policy
from llm.settings import GenerationSettings

log = logging.getLogger(__name__)

# Largest difference of logits, relative to the largest logit, that rounding explains. A wrong mask or position
# is off by about 1 in a trained model. bitsandbytes rounds activations too, which depends on the neighbours.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 8e-2}
QUANTISED_TOLERANCE = 0.3
PROBE_LENGTHS = (23, 9)
TIMED_ROWS = 4
TIMING_S = 1.0
TIMED_ROUNDS = (4, 20)
LONGEST_TIMING_S = 5.0
# Several at once must take less than this share of the time of one after another to be worth the padding.
PAYS_BELOW = 0.9
# Their frequencies follow the longest text in the batch, so that neighbours would change each other's answers.
SHARED_ROPE = {"dynamic", "longrope"}


def examine(model: Any, decoder: Decoder, parallel: int) -> Policy:
    """Decides between batches, turns, and the model's own generation loop, and says why."""
    why = _needs_own_loop(model) or _disagreement(model, decoder)
    if why:
        return Policy(True, 1, f"Fair turns, one token each, in the model's own generation loop: {why}.")
    rope = _rope_type(model.config.get_text_config(decoder=True))
    if rope in SHARED_ROPE or not getattr(model, "rows_are_independent", True):
        return Policy(False, 1, f"Fair turns, one token each: in a batch, {rope or 'its'} positions would be shared.")
    one_s, several_s, is_sure = _step_times(model, decoder)
    figures = f"{TIMED_ROWS} together take {several_s * 1e3:.1f} ms a token, one alone {one_s * 1e3:.1f} ms"
    if several_s < PAYS_BELOW * TIMED_ROWS * one_s or not is_sure:
        return Policy(False, parallel, f"Continuous batching: {figures} (measured when the model was loaded).")
    return Policy(False, 1, f"Fair turns, one token each, as a batch gains nothing: {figures} (measured).")


def _needs_own_loop(model: Any) -> str:
    if getattr(model, "own_generation_loop", False):
        return "the model asks for it"
    if getattr(model, "_is_stateful", False):
        return "it keeps a recurrent state"
    text_config = model.config.get_text_config(decoder=True)
    if getattr(text_config, "cross_attention_layers", None):
        return "its layers also attend to pictures"
    try:
        layers = DynamicCache(config=text_config).layers
    except (AttributeError, KeyError, TypeError):  # a configuration that transformers doesn't know
        return ""
    others = {type(layer).__name__ for layer in layers if type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer)}
    return f"it keeps {', '.join(sorted(others))}" if others else ""


@torch.inference_mode()
def _disagreement(model: Any, decoder: Decoder) -> str:
    """Compares stretches, caches and a padded batch with plain passes over the whole text; empty if they agree."""
    try:
        texts = [_some_ids(model, length) for length in PROBE_LENGTHS]
        batch = Batch(decoder)
        for ids in texts:
            batch.join(_read(decoder, ids, ids_read=len(ids) - 2))
        worst = 0.0
        for back in (2, 1):
            logits = batch.step()
            batch.advance()
            for index, ids in enumerate(texts):
                upto = torch.tensor([ids[: len(ids) - back + 1]], device=decoder.device)
                plain = model(input_ids=upto, use_cache=False).logits[0, -1].float()
                difference = (logits[index] - plain).abs().max() / plain.abs().max().clamp(min=1e-6)
                worst = max(worst, difference.item() if bool(torch.isfinite(difference)) else float("inf"))
    except Exception as error:  # a model that cannot be called this way
        log.info("the model cannot be batched", exc_info=error)
        return f"it cannot be called otherwise ({type(error).__name__})"
    tolerance = QUANTISED_TOLERANCE if getattr(model, "is_quantized", False) else TOLERANCE.get(model.dtype, 8e-2)
    return "" if worst <= tolerance else f"padded neighbours would change its answers (by {worst:.0%})"


@torch.inference_mode()
def _step_times(model: Any, decoder: Decoder) -> tuple[float, float, bool]:
    """Seconds for one step of one answer and of `TIMED_ROWS`: the best of the rounds that there is time for.

    Third: whether there were enough rounds to go by. Large models, whose steps are slow, gain from batches.

    The two take turns, so that something else on the machine disturbs both alike.
    """
    batches = []
    for rows in (1, TIMED_ROWS):
        batches.append(Batch(decoder))
        for _ in range(rows):
            batches[-1].join(_read(decoder, _some_ids(model, 17), ids_read=16))
    best = [float("inf"), float("inf")]
    began = time.perf_counter()
    fewest, most = TIMED_ROUNDS
    for round_number in range(most + 1):
        for index, batch in enumerate(batches):
            start = time.perf_counter()
            batch.step().argmax(-1).tolist()
            best[index] = min(best[index], time.perf_counter() - start)
            batch.roll_back()
        # Few rounds say little on a busy machine; a slow model's must do.
        spent_s = time.perf_counter() - began
        if spent_s > (TIMING_S if round_number >= fewest else LONGEST_TIMING_S):
            break
        if round_number == 0:  # it warmed up
            best = [float("inf"), float("inf")]
    return best[0], best[1], round_number >= fewest


def _read(decoder: Decoder, ids: list[int], ids_read: int) -> Row:
    """A row of which the first `ids_read` tokens have been read, in two stretches."""
    row = Row.of(Request(tuple(ids), {}, GenerationSettings(), frozenset(), 1, Cancel()))
    row.cache = RoomyCache()
    decoder.prefill(row, ids_read // 2)
    decoder.prefill(row, ids_read - ids_read // 2)
    return row


def _some_ids(model: Any, length: int) -> list[int]:
    """Fixed ids from the middle of the vocabulary, away from the tags that models put at its ends."""
    size = model.get_input_embeddings().weight.shape[0]
    return [size // 4 + (place * 7919) % max(size // 2, 1) for place in range(length)]


def _rope_type(config: Any) -> str:
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    return next((kind["rope_type"] for kind in kinds if kind.get("rope_type") in SHARED_ROPE), "")
