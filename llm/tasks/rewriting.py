"""Summaries and translations, through networks that write one text from another (encoder and decoder).

Marian and its like are trained on single sentences and leave out the rest (marian-nmt/marian#389): sentences go through
one by one, and what stands between them, empty lines too, comes back as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm.cancel import Cancel
from llm.engines.heads import HeadModel
from llm.engines.text_limits import limit_tokens
from llm.errors import Cancelled, UnknownLanguages
from llm.repetition import RepetitionWatch
from llm.tasks.sentences import fitting, parts
from llm.tasks.text_outputs import Note, Rewritten

BEAMS = 4
"""Where the checkpoint names no number, as transformers 4 had it."""
LONGEST_TIMES = 3
"""A translation more than so many times as long as its text has gone round in circles."""
_BATCH = 8
_T5_PREFIX = "translation_"


@dataclass(slots=True)
class _Way:
    """How one direction is asked for: text put before each input, and arguments of `generate`.

    used: all arguments of the last call, for whoever wants to do the same.
    """

    prefix: str = ""
    arguments: Mapping[str, Any] | None = None
    used: Mapping[str, Any] = field(default_factory=dict)


def languages_of(head: HeadModel) -> tuple[list[str], list[str]]:
    """The source and target languages that can be named; both empty for a model of one direction."""
    tokenizer, model_type = head.reader, head.config.model_type
    if model_type in ("t5", "mt5", "umt5"):
        pairs = [name.split("_") for name in _params(head) if name.startswith(_T5_PREFIX)]
        return sorted({pair[1] for pair in pairs}), sorted({pair[3] for pair in pairs})
    if model_type == "marian":
        codes = [code.strip("><") for code in getattr(tokenizer, "supported_language_codes", None) or ()]
        return [], sorted(codes)
    if hasattr(tokenizer, "_build_translation_inputs"):
        codes = sorted(_language_codes(tokenizer))
        return codes, codes
    return [], []


def _language_codes(tokenizer: Any) -> list[str]:
    for name in ("lang_code_to_id", "lang_code_to_token", "lang_token_to_id"):
        found = getattr(tokenizer, name, None)
        if found:
            return [str(code).strip("_") for code in found]
    return [str(code) for code in getattr(tokenizer, "additional_special_tokens", ())]


def _params(head: HeadModel) -> Mapping[str, Any]:
    return getattr(head.config, "task_specific_params", None) or {}


def translate(
    head: HeadModel,
    text: str,
    source: str = "",
    target: str = "",
    beams: int = 0,
    cancel: Cancel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Rewritten, list[Note]]:
    """The text in another language, with its lines and empty lines.

    Args:
        source, target: codes out of `languages_of`; left out for a model of one direction. beams: 0 is the model's.
        progress: called with sentences done and in all.

    Raises:
        UnknownLanguages: the model does not know them. Cancelled.
    """
    way = _direction(head, source, target)
    stretches = list(fitting(text, lambda one: _fits(head, way.prefix + one)))
    given = [stretch.text for stretch in stretches]
    written, notes = _write(head, given, way, {}, beams, cancel, progress, loops=True)
    joined = "".join(new + stretch.after for new, stretch in zip(written, stretches, strict=True))
    pairs = tuple((old, new) for old, new in zip(given, written, strict=True) if old)
    return Rewritten(joined, pairs, way.prefix, way.used), notes


def _direction(head: HeadModel, source: str, target: str) -> _Way:
    sources, targets = languages_of(head)
    known = ", ".join(sorted({*sources, *targets})[:40]) or "one direction only"
    refused = UnknownLanguages(model=head.entry.name, source=source, target=target, known=known)
    if (source and sources and source not in sources) or (target and target not in targets and targets):
        raise refused
    if not targets:
        return _Way()
    tokenizer, model_type = head.reader, head.config.model_type
    if model_type == "marian":
        return _Way(f">>{target or targets[0]}<< ")
    if model_type in ("t5", "mt5", "umt5"):
        names = [name for name in _params(head) if name.startswith(_T5_PREFIX)]
        wanted = [
            name
            for name in names
            if (not source or name.split("_")[1] == source) and (not target or name.split("_")[3] == target)
        ]
        if not wanted:
            raise refused
        return _Way(str(_params(head)[wanted[0]].get("prefix", "")))
    if not source or not target:
        raise refused
    inputs = tokenizer._build_translation_inputs("a", return_tensors="pt", src_lang=source, tgt_lang=target)
    tokenizer.src_lang = source
    return _Way(arguments={"forced_bos_token_id": inputs["forced_bos_token_id"]})


def summarize(
    head: HeadModel,
    text: str,
    least_tokens: int = 0,
    most_tokens: int = 0,
    beams: int = 0,
    cancel: Cancel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Rewritten, list[Note]]:
    """A short text that says what a long one says. One beyond the model's length goes through in parts, cut at the ends
    of sentences; where their summaries are still too long together, they are summarized once more.

    Args:
        least_tokens, most_tokens: of each summary; 0 is the model's own.

    Raises: Cancelled.
    """
    params = dict(_params(head).get("summarization", {}))
    way = _Way(str(params.pop("prefix", None) or ""))
    limits = {"min_length": least_tokens, "max_length": most_tokens}
    arguments = params | {name: value for name, value in limits.items() if value}
    if least_tokens and most_tokens:
        arguments["min_length"] = min(least_tokens, most_tokens)

    def fits(part: str) -> bool:
        return _fits(head, way.prefix + part)

    pairs: list[tuple[str, str]] = []
    notes: list[Note] = []
    given = parts(text, fits)
    while True:
        written, new_notes = _write(head, given, way, arguments, beams, cancel, progress, loops=False)
        pairs += zip(given, written, strict=True)
        notes += new_notes
        together = "\n".join(written)
        if len(given) == 1:
            return Rewritten(together, tuple(pairs), way.prefix, way.used), notes
        notes.append(Note("parts", {"count": len(given)}))
        again = parts(together, fits)
        if len(again) >= len(given):
            return Rewritten(together, tuple(pairs), way.prefix, way.used), notes
        given = again


def _fits(head: HeadModel, text: str) -> bool:
    with head.lock:
        return len(head.reader(text)["input_ids"]) <= limit_tokens(head.reader, head.config)


def _write(
    head: HeadModel,
    given: Sequence[str],
    way: _Way,
    arguments: Mapping[str, Any],
    beams: int,
    cancel: Cancel | None,
    progress: Callable[[int, int], None] | None,
    loops: bool,
) -> tuple[list[str], list[Note]]:
    """What the model writes for each text, those of like length together. loops: watch for circles by length."""
    written = [""] * len(given)
    order = sorted((at for at, text in enumerate(given) if text.strip()), key=lambda at: len(given[at]))
    notes: list[Note] = []
    for begin in range(0, len(order), _BATCH):
        if cancel is not None and cancel.is_set():
            raise Cancelled(what="The work")
        batch = order[begin : begin + _BATCH]
        texts = [way.prefix + given[at] for at in batch]
        for at, (new, long) in zip(batch, _generate(head, texts, way, arguments, beams, cancel), strict=True):
            if (loops and long) or _goes_round(new):
                careful = dict(arguments) | {"no_repeat_ngram_size": 3, "repetition_penalty": 1.3}
                new = _generate(head, [way.prefix + given[at]], way, careful, beams, cancel)[0][0]
                notes.append(Note("looped", {"text": given[at][:40]}))
            if not new.strip():
                notes.append(Note("empty_answer", {"text": given[at][:40]}))
            written[at] = new
        if progress is not None:
            progress(min(begin + _BATCH, len(order)), len(order))
    return written, notes


def _generate(
    head: HeadModel,
    texts: Sequence[str],
    way: _Way,
    arguments: Mapping[str, Any],
    beams: int,
    cancel: Cancel | None,
) -> list[tuple[str, bool]]:
    """For each text what is written, and whether it is far longer than what it was written from."""
    import torch

    tokenizer, model = head.reader, head.model
    own = model.generation_config
    chosen: dict[str, Any] = {"num_beams": beams or (own.num_beams if (own.num_beams or 1) > 1 else BEAMS)}
    chosen |= dict(way.arguments or {}) | dict(arguments)
    if beams:
        chosen["num_beams"] = beams
    with head.lock:
        inputs = tokenizer(list(texts), return_tensors="pt", padding=True).to(model.device)
    inputs.pop("token_type_ids", None)
    length = int(inputs["input_ids"].shape[1])
    # Learned positions end somewhere, and what is written beyond them is an IndexError.
    most = limit_tokens(tokenizer, head.config) - 1
    if "max_length" in chosen:
        chosen["max_length"] = min(chosen["max_length"], most)
    else:
        chosen["max_new_tokens"] = min(LONGEST_TIMES * length + 16, most)
    way.used = chosen
    with head.lock, torch.inference_mode():
        outputs = model.generate(**inputs, **chosen, do_sample=False, stopping_criteria=_stops(cancel))
    if cancel is not None and cancel.is_set():
        raise Cancelled(what="The work")
    found = []
    for ids, given in zip(outputs, inputs["attention_mask"], strict=True):
        new = str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
        count = int((ids != model.config.pad_token_id).sum()) if model.config.pad_token_id is not None else len(ids)
        found.append((new, count > LONGEST_TIMES * int(given.sum()) + 8))
    return found


def _stops(cancel: Cancel | None) -> Any:
    from transformers import StoppingCriteriaList

    def stop(ids: Any, scores: Any, **rest: Any) -> Any:
        import torch

        return torch.full((ids.shape[0],), cancel is not None and cancel.is_set(), device=ids.device)

    return StoppingCriteriaList([stop])


def _goes_round(text: str) -> bool:
    return RepetitionWatch().feed(text)
