"""Answers are the model's own, alone and among neighbours, whatever its positions and masks."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
import tiny_checkpoints
import torch
from tiny_engines import GREEDY, answer, at_once, load, prompt_of, steps

from llm.cancel import Cancel
from llm.engine import GeneratedToken, GenerationEnd, Waiting
from llm.errors import Busy, MessageTooLong, ModelError, OutOfMemory, UnsupportedContent
from llm.plan import LoadPlan
from llm.settings import GenerationSettings

KINDS = list(tiny_checkpoints.ARCHITECTURES)


def reference(engine, ids, max_tokens=24) -> list[int]:
    """What plain `generate` writes."""
    inputs = torch.tensor([ids])
    mask = torch.ones_like(inputs)
    out = engine.model.generate(
        inputs, attention_mask=mask, do_sample=False, max_new_tokens=max_tokens, eos_token_id=None, pad_token_id=0
    )
    return out[0, len(ids) :].tolist()


def some_ids(length: int, seed: int = 0) -> list[int]:
    return random.Random(seed * 1000 + length).sample(range(5, 450), length)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_is_generates_alone_and_among_neighbours(engine_of, kind):
    engine = engine_of(kind)
    prompts = [some_ids(length, seed) for seed, length in enumerate((3, 40, 17, 90, 1, 33))]
    expected = [reference(engine, ids) for ids in prompts]
    assert answer(engine, prompts[1]) == expected[1]
    assert at_once(*(lambda ids=ids: answer(engine, ids) for ids in prompts)) == expected


@pytest.mark.parametrize("kind", ["llama", "qwen2 sliding", "gemma2", "bloom", "mpt", "gpt_bigcode"])
def test_batched_rows_join_and_leave_at_any_time(engine_of, kind):
    """Drives the batches themselves, whatever the timing on this machine made the engine choose."""
    from llm.engines.transformers.decoder import Batch, Decoder
    from llm.engines.transformers.request import Request, Row

    engine = engine_of(kind)
    decoder = Decoder(engine.model)
    rows = []
    for seed, length in enumerate((5, 60, 20, 2)):
        row = Row.of(Request(tuple(some_ids(length, seed)), {}, GREEDY, frozenset(), 24, Cancel()))
        with torch.inference_mode():
            while row.prompt_left > 1:
                decoder.prefill(row, min(7, row.prompt_left - 1))
            logits = decoder.prefill(row, 1)
        row.take(int(logits.argmax()), None)
        rows.append(row)
    batch = Batch(decoder)
    leaving = {5: 1, 9: 0, 14: 3}
    arriving = {0: (0, 1), 3: (2,), 7: (3,)}
    for step in range(20):
        for index in arriving.get(step, ()):
            batch.join(rows[index])
        if step in leaving:
            batch.leave(rows[leaving[step]])
        with torch.inference_mode():
            chosen = batch.step().argmax(-1).tolist()
        batch.advance()
        for row, token_id in zip(batch.rows, chosen, strict=True):
            row.take(token_id, None)
    for row in rows:
        written = row.ids[len(row.request.ids) :]
        assert len(written) > 4
        assert written == reference(engine, list(row.request.ids), len(written))


def test_a_long_prompt_is_read_in_stretches_without_stopping_the_others(engine_of, monkeypatch):
    from llm.engines.transformers import scheduler

    engine = engine_of("llama")
    monkeypatch.setattr(scheduler, "STRETCH_TOKENS", (32, 32))  # as on a slow machine
    order = []

    def listen(name, ids, length):
        for step in engine.generate(
            prompt_of(ids), GenerationSettings(temperature=0, max_length=length), frozenset(), Cancel()
        ):
            if isinstance(step, GeneratedToken):
                order.append(name)
                if name == "short" and len(order) == 2:
                    started.set()

    import threading

    started = threading.Event()
    short = threading.Thread(target=listen, args=("short", some_ids(4), 200))
    short.start()
    started.wait(30)
    listen("long", some_ids(300, 7), 3)
    before_long = order[: order.index("long")]
    short.join(60)
    assert len(before_long) >= 8  # 300 tokens are ten stretches; the other went on while the prompt was read
    assert Counter(order) == {"short": 200, "long": 3}


def test_seeded_sampling_repeats_whoever_else_is_there(engine_of):
    engine = engine_of("qwen2")
    settings = GenerationSettings(temperature=1.2, top_p=0.95, top_k=30, seed=11, max_length=20)
    ids = some_ids(12)
    alone = answer(engine, ids, settings)
    assert alone == answer(engine, ids, settings)
    assert alone != answer(engine, ids, GenerationSettings(temperature=1.2, top_k=30, seed=12, max_length=20))
    others = [lambda s=s: answer(engine, some_ids(30, s), GenerationSettings(seed=s, max_length=30)) for s in range(4)]
    assert at_once(lambda: answer(engine, ids, settings), *others)[0] == alone


def test_repetition_penalty_is_transformers_own(engine_of):
    engine = engine_of("llama")
    ids = some_ids(10)
    out = engine.model.generate(
        torch.tensor([ids]),
        do_sample=False,
        max_new_tokens=24,
        repetition_penalty=1.4,
        eos_token_id=None,
        pad_token_id=0,
    )
    settings = GenerationSettings(temperature=0, repetition_penalty=1.4, max_length=24)
    assert answer(engine, ids, settings) == out[0, len(ids) :].tolist()


def test_sampling_follows_the_cut_distribution():
    from llm.engines.transformers.sampling import Sampler

    logits = torch.log(torch.tensor([0.4, 0.3, 0.2, 0.06, 0.04]))

    def counts(**values):
        sampler = Sampler(GenerationSettings(seed=1, **values), ())
        return Counter(int(sampler.choose(logits)) for _ in range(4000))

    everything = counts(temperature=1.0, top_p=1.0, top_k=0)
    assert all(abs(everything[i] / 4000 - p) < 0.03 for i, p in enumerate((0.4, 0.3, 0.2, 0.06, 0.04)))
    assert set(counts(temperature=1.0, top_p=1.0, top_k=2)) == {0, 1}
    assert set(counts(temperature=1.0, top_p=0.65, top_k=0)) == {0, 1}
    assert set(counts(temperature=1.0, top_p=0.71, top_k=0)) == {0, 1, 2}
    assert set(counts(temperature=1.0, top_p=0.01, top_k=0)) == {0}
    # After top-k 2 the mass before the second is 0.4 / 0.7, above 0.5.
    assert set(counts(temperature=1.0, top_p=0.5, top_k=2)) == {0}
    hot = counts(temperature=2.0, top_p=1.0, top_k=0)
    assert hot[4] > 2 * everything[4]


def test_a_nucleus_of_a_large_vocabulary_is_the_sorted_one():
    from llm.engines.transformers import sampling

    generator = torch.Generator().manual_seed(3)
    for sharpness in (0.1, 3.0):
        logits = torch.randn(3000, generator=generator) * sharpness
        settings = GenerationSettings(temperature=1.0, top_p=0.9, top_k=0)
        fast = [int(sampling._draw(logits, settings, u / 50)) for u in range(50)]
        probabilities, ids = logits.softmax(-1).sort(descending=True)
        cumulative = probabilities.cumsum(-1, dtype=torch.float64)
        kept = int((cumulative - probabilities < 0.9).sum())
        places = [
            int(torch.searchsorted(cumulative[:kept], cumulative[kept - 1] * (u / 50), right=True)) for u in range(50)
        ]
        assert fast == [int(ids[place]) for place in places]


def test_logprobs_are_the_models_before_sampling(engine_of):
    engine = engine_of("llama")
    ids = some_ids(9)
    settings = GenerationSettings(temperature=0.8, seed=5, logprobs=3, max_length=5)
    tokens = [step.token for step in steps(engine, ids, settings)[:-1]]
    written = [token.id for token in tokens]
    with torch.inference_mode():
        logprobs = torch.log_softmax(engine.model(torch.tensor([ids + written])).logits[0].float(), -1)
    for place, token in enumerate(tokens):
        row = logprobs[len(ids) - 1 + place]
        assert token.logprob == pytest.approx(row[token.id].item(), abs=1e-4)
        top = row.topk(3)
        assert [alternative.id for alternative in token.alternatives] == top.indices.tolist()
        assert [a.logprob for a in token.alternatives] == pytest.approx(top.values.tolist(), abs=1e-4)


def test_stop_ids_end_the_answer_and_are_not_part_of_it(engine_of):
    engine = engine_of("llama")
    ids = some_ids(8)
    plain = answer(engine, ids)
    stop = plain[6]
    first = plain.index(stop)
    found = steps(engine, ids, stop_ids={stop})
    assert [step.token.id for step in found[:-1]] == plain[:first]
    assert found[-1].reason == "stop"


def test_the_answer_ends_with_the_context(tmp_path):
    engine = load(tiny_checkpoints.save_checkpoint(tmp_path / "m", "llama"), LoadPlan(device="cpu", context_tokens=30))
    try:
        found = steps(engine, some_ids(25), GenerationSettings(temperature=0, max_length=1000))
        assert len(found) - 1 == 5
        assert found[-1] == GenerationEnd("length", 0)
        with pytest.raises(MessageTooLong) as caught:
            steps(engine, some_ids(31))
        assert caught.value.values["over_tokens"] == 2
    finally:
        engine.close()


def test_the_next_turn_reads_only_what_is_new(engine_of):
    engine = engine_of("mistral sliding")
    first = some_ids(60, 3)
    written = answer(engine, first)
    second = [*first, *written, *some_ids(20, 4)]
    found = steps(engine, second)
    assert found[-1].cached_tokens == len(first) + len(written) - 1
    assert [step.token.id for step in found[:-1]] == reference(engine, second)
    # A branch that leaves the conversation in the middle, beyond the sliding window.
    branch = [*second[:40], *some_ids(15, 5)]
    found = steps(engine, branch)
    assert found[-1].cached_tokens == 40
    assert [step.token.id for step in found[:-1]] == reference(engine, branch)


def test_the_prompt_cache_keeps_to_its_bytes(engine_of):
    from llm.engines.transformers.cache import CacheRow, RoomyCache
    from llm.engines.transformers.prefix_cache import PrefixCache

    def cache_of(tokens):
        cache = RoomyCache()
        cache.update(torch.zeros(1, 2, tokens, 4), torch.zeros(1, 2, tokens, 4), 0)
        return CacheRow(cache, 0, tokens)

    one = 2 * 2 * 20 * 4 * 4  # keys and values, heads, tokens, size, bytes
    prefixes = PrefixCache(2 * one)
    for start in (0, 100, 200):
        prefixes.keep(range(start, start + 20), cache_of(20))
        assert prefixes.held_bytes <= 2 * one
    assert prefixes.find(range(0, 25)) == (None, 0)  # the oldest went
    assert prefixes.find(range(200, 225))[1] == 20
    prefixes.keep(range(300, 500), cache_of(200))  # larger than everything: not kept, nothing lost
    assert prefixes.find(range(100, 125))[1] == 20


@pytest.mark.parametrize("kind", ["llama", "mamba"])
def test_cancelling_ends_within_a_token_and_closing_too(engine_of, kind):
    engine = engine_of(kind)
    cancel = Cancel()
    tokens = 0
    last = None
    for step in engine.generate(prompt_of(some_ids(5)), GenerationSettings(max_length=400), frozenset(), cancel):
        last = step
        if isinstance(step, GeneratedToken):
            tokens += 1
            if tokens == 3:
                cancel.set()
                put_before = engine._scheduler._rows[0].answer_tokens if engine._scheduler._rows else 3
    assert last.reason == "cancelled"
    assert tokens <= put_before + 2
    stream = engine.generate(prompt_of(some_ids(5)), GenerationSettings(max_length=400), frozenset(), Cancel())
    while not isinstance(next(stream), GeneratedToken):
        pass
    stream.close()
    deadline = time.monotonic() + 5
    while engine._scheduler._rows and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not engine._scheduler._rows
    assert answer(engine, some_ids(5)) == reference(engine, some_ids(5))


def test_who_waits_is_told_and_too_many_are_refused(tmp_path, monkeypatch):
    from llm.config import config

    monkeypatch.setenv("HEARTH_PARALLEL", "1")
    monkeypatch.setenv("HEARTH_QUEUE_LIMIT", "1")
    config.cache_clear()
    engine = load(tiny_checkpoints.save_checkpoint(tmp_path / "m", "llama"))
    try:
        cancel = Cancel()
        first = engine.generate(prompt_of(some_ids(4)), GenerationSettings(max_length=480), frozenset(), cancel)
        while not isinstance(next(first), GeneratedToken):
            pass
        second = engine.generate(prompt_of(some_ids(4)), GREEDY, frozenset(), Cancel())
        told = next(second)
        assert told == Waiting(1)
        with pytest.raises(Busy):
            next(engine.generate(prompt_of(some_ids(4)), GREEDY, frozenset(), Cancel()))
        cancel.set()
        assert [step for step in first][-1].reason == "cancelled"
        tokens = [step.token.id for step in second if isinstance(step, GeneratedToken)]
        assert tokens == reference(engine, some_ids(4))
    finally:
        engine.close()


@pytest.mark.parametrize("kind", ["llama", "mamba"])
def test_running_out_of_memory_ends_one_answer_and_not_the_engine(engine_of, kind, monkeypatch):
    engine = engine_of(kind)
    ids = some_ids(11, 9)
    forward = engine.model.forward

    def fails(*args, **kwargs):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(engine.model, "forward", fails)
    with pytest.raises(OutOfMemory):
        answer(engine, ids)
    monkeypatch.setattr(engine.model, "forward", forward)
    assert answer(engine, ids) == reference(engine, ids)


def test_one_refused_allocation_is_tried_again_without_the_prompt_cache(engine_of, monkeypatch):
    engine = engine_of("llama")
    ids = some_ids(11, 8)
    forward, calls = engine.model.forward, []

    def fails_twice(*args, **kwargs):
        calls.append(1)
        if len(calls) in (1, 6):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.model, "forward", fails_twice)
    written = answer(engine, ids)
    monkeypatch.setattr(engine.model, "forward", forward)
    assert written == reference(engine, ids)


def test_any_other_failure_is_told_and_the_engine_goes_on(engine_of, monkeypatch):
    engine = engine_of("llama")
    with pytest.raises(ModelError, match="IndexError"):
        answer(engine, [5, 10**6])  # no such token
    assert answer(engine, some_ids(6)) == reference(engine, some_ids(6))
    with pytest.raises(UnsupportedContent):
        steps(engine, some_ids(6), GenerationSettings(min_p=0.1))


def test_closing_frees_the_weights_and_ends_answers_in_work(tmp_path):
    import gc
    import weakref

    engine = load(tiny_checkpoints.save_checkpoint(tmp_path / "m", "llama"))
    held = engine.memory()
    parameters = sum(p.numel() * p.element_size() for p in engine.model.parameters())
    assert held.total_bytes >= parameters
    stream = engine.generate(prompt_of(some_ids(4)), GenerationSettings(max_length=400), frozenset(), Cancel())
    while not isinstance(next(stream), GeneratedToken):
        pass
    # Looked at more than once: between reading and answering the cache changes hands.
    assert any(engine.memory().total_bytes > held.total_bytes for _ in range(1000))
    weights = weakref.ref(next(engine.model.parameters()))
    engine.close()
    assert [step for step in stream][-1].reason == "cancelled"
    gc.collect()
    assert weights() is None
    assert engine.memory().total_bytes == 0
    with pytest.raises(ModelError):
        steps(engine, some_ids(4))
