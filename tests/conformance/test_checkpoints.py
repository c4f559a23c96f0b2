"""Published layouts of older families give the original code's ids, logits and answers, through the engine."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest
import torch

from llm.cancel import Cancel
from llm.engine import GeneratedToken
from llm.engines.transformers.decoder import Batch
from llm.engines.transformers.request import Request, Row
from llm.prompt import Piece, Prompt
from llm.settings import GenerationSettings
from tests.conformance.published import FOLDERS, Case, case_named, cases, expected, reference, without_pictures

GREEDY = GenerationSettings(temperature=0, max_length=24)
STEPS = 24
ALL = cases()
by_case = pytest.mark.parametrize("case", ALL, ids=str)
by_folder = pytest.mark.parametrize("folder", FOLDERS)


def inputs_of(handle: Any, case: Case) -> dict[str, Any]:
    """What the model takes beside the ids; pictures, for cases that have some."""
    return dict(handle.prompt(case.messages, case.tools).inputs) if case.messages else {}


def recorded_prompt(handle: Any, case: Case) -> Prompt:
    pieces = tuple(Piece(token_id, "", "user") for token_id in case.ids)
    return Prompt("", tuple(case.ids), pieces, handle.context_tokens, inputs=inputs_of(handle, case))


def answer_ids(handle: Any, case: Case, stop_ids: frozenset[int] = frozenset()) -> list[int]:
    steps = handle.engine.generate(recorded_prompt(handle, case), GREEDY, stop_ids, Cancel())
    return [step.token.id for step in steps if isinstance(step, GeneratedToken)]


def off_by(logits: torch.Tensor, recorded: torch.Tensor) -> float:
    assert logits.shape == recorded.shape
    return (logits.float() - recorded).abs().max().item()


@by_case
def test_prompt_has_the_original_ids(case: Case, loaded: Any) -> None:
    handle = loaded(case.folder)
    tags = handle.engine.special_tokens
    if "raw_prompt" in case.values:
        assert handle.tokenizer.encode_text(case.values["raw_prompt"]) == case.ids
        return
    prompt = handle.prompt(case.messages, case.tools)
    if case.types_tags:
        plain = {piece.id for piece in prompt.pieces if piece.kind not in ("control", "image")}
        assert not plain & set(tags.values())
        return
    picture = tags.get("<img>"), tags.get("</img>")
    assert without_pictures(list(prompt.ids), *picture) == without_pictures(case.ids, *picture)


@by_case
def test_logits(case: Case, loaded: Any) -> None:
    handle, tensors = loaded(case.folder), reference(case.folder)
    tolerance = expected(case.folder)["tolerance_max_abs_logits"]
    with torch.inference_mode():
        logits = handle.model(torch.tensor([case.ids]), **inputs_of(handle, case)).logits[0]
    assert off_by(logits[-1], tensors[case.values["last_logits"]]) <= tolerance
    if "all_logits" in case.values:
        assert off_by(logits, tensors[case.values["all_logits"]]) <= tolerance
    if "sub_logits" in case.values:
        recorded = tensors[case.values["sub_logits"]]
        assert off_by(logits[-len(recorded) :, tensors["sub_ids"].long()], recorded) <= tolerance


@pytest.mark.parametrize(
    "case", [case for case in ALL if {"step_logits", "step_sub_logits"} & set(case.values)], ids=str
)
def test_cached_steps(case: Case, loaded: Any) -> None:
    handle, tensors = loaded(case.folder), reference(case.folder)
    with torch.inference_mode():
        steps = rows_steps(handle, [case], [case.values["greedy_ids"]])[:, 0]
    if "step_logits" in case.values:
        recorded = tensors[case.values["step_logits"]]
    else:
        recorded, steps = tensors[case.values["step_sub_logits"]], steps[:, tensors["sub_ids"].long()]
    assert off_by(steps, recorded) <= expected(case.folder)["tolerance_max_abs_logits"]


@by_case
def test_greedy_answer(case: Case, loaded: Any) -> None:
    assert answer_ids(loaded(case.folder), case) == case.values["greedy_ids"]


@by_case
def test_answer_ends_at_the_first_stop(case: Case, loaded: Any) -> None:
    handle = loaded(case.folder)
    stop = case.values["greedy_first_stop"]
    ids = answer_ids(handle, case, handle.family.stop_ids(handle.engine))
    assert ids == case.values["greedy_ids"][:stop]


@by_folder
def test_stop_ids(folder: str, loaded: Any) -> None:
    handle = loaded(folder)
    assert sorted(handle.family.stop_ids(handle.engine)) == sorted(expected(folder)["stop_ids"])


@by_folder
def test_left_padded_batch(folder: str, loaded: Any) -> None:
    """The recorded batches, given to the model as it is."""
    handle, tensors = loaded(folder), reference(folder)
    for batch in expected(folder)["batches"]:
        members = [case_named(folder, case_id) for case_id in batch["cases"]]
        ids = torch.tensor(batch["input_ids"])
        lengths = [len(case.ids) for case in members]
        mask = torch.tensor(
            [[int(column >= ids.shape[1] - length) for column in range(ids.shape[1])] for length in lengths]
        )
        inputs = {name: value for case in members for name, value in inputs_of(handle, case).items()}
        with torch.inference_mode():
            logits = handle.model(ids, attention_mask=mask, **inputs).logits[:, -1]
            answers = handle.model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=STEPS,
                min_new_tokens=STEPS,
                do_sample=False,
                repetition_penalty=1.0,
                eos_token_id=None,
                **inputs,
            )
        assert off_by(logits, tensors[batch["last_logits"]]) <= expected(folder)["tolerance_max_abs_logits"]
        assert answers[:, ids.shape[1] :].tolist() == batch["greedy_ids"]


@by_folder
def test_rows_of_a_batch_answer_as_they_would_alone(folder: str, loaded: Any) -> None:
    """Prompts of very different lengths, together in one batch of the engine's."""
    handle = loaded(folder)
    members = sorted(cases(folder), key=lambda case: len(case.ids))
    members = [members[0], members[len(members) // 2], members[-1]]
    with torch.inference_mode():
        logits = rows_steps(handle, members, [case.values["greedy_ids"] for case in members])
    assert logits.argmax(-1).T.tolist() == [case.values["greedy_ids"] for case in members]


@by_folder
def test_answers_written_at_once(folder: str, loaded: Any) -> None:
    handle = loaded(folder)
    members = cases(folder)[:4]
    results: queue.SimpleQueue[tuple[int, list[int]]] = queue.SimpleQueue()

    def write(place: int) -> None:
        results.put((place, answer_ids(handle, members[place])))

    threads = [threading.Thread(target=write, args=(place,)) for place in range(len(members))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    answers = dict(results.get(timeout=1) for _ in members)
    assert answers == {place: case.values["greedy_ids"] for place, case in enumerate(members)}


def rows_steps(handle: Any, members: list[Case], tokens: list[list[int]]) -> torch.Tensor:
    """Scores (24, rows, vocabulary) before each of the given tokens, by the engine's prompt reader and batch."""
    decoder = handle.engine._scheduler._decoder
    own_loop = handle.engine._scheduler._own_loop
    batch = Batch(decoder)
    first = []
    for case in members:
        prompt = recorded_prompt(handle, case)
        row = Row.of(Request(prompt.ids, prompt.inputs, GREEDY, frozenset(), STEPS, Cancel()))
        if prompt.inputs:
            from llm.engines.transformers.cache import RoomyCache

            row.cache = RoomyCache()
            first.append(own_loop.prefill(row, row.cache))
        else:
            first.append(decoder.prefill(row, len(prompt.ids)))
        batch.join(row)
    steps = [torch.stack(first)]
    for place in range(STEPS - 1):
        for row, answer in zip(batch.rows, tokens, strict=True):
            row.ids.append(answer[place])
        steps.append(batch.step())
        batch.advance()
    return torch.stack(steps)
