"""Which vision-language model to get on a machine that has none."""

from __future__ import annotations

from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import entries_for
from llm.machine.hardware import Hardware
from llm.planning.memory import Choice, choices

CONTEXT_TOKENS = 8192
"""Room for some pictures and a conversation: what it is judged by, as the longest contexts take tens of gigabytes."""
_ROUNDED = ("int8", "int4")


def seeing_model(machine: Hardware) -> ModelEntry | None:
    """The model to offer: the largest that the GPU holds, in 16 bits if any fits so.

    Without a GPU that holds one it is the smallest, as it answers soonest. None: nothing fits.
    """
    # The first generation needs more memory than its successors, for worse answers.
    seeing = [e for e in entries_for("image-text-to-text") if e.sources and e.size_bytes and e.family != "qwen-vl"]
    seeing.sort(key=lambda entry: entry.size_bytes)
    found = [
        (entry, choice) for entry in seeing for choice in choices(entry, machine, None, CONTEXT_TOKENS) if choice.fit.ok
    ]
    on_gpu = [(entry, choice) for entry, choice in found if choice.estimate.device != "cpu"]
    exact = _exact(on_gpu)
    if on_gpu:
        return (exact or on_gpu)[-1][0]
    return next((entry for entry, _ in _exact(found) or found), None)


def _exact(found: list[tuple[ModelEntry, Choice]]) -> list[tuple[ModelEntry, Choice]]:
    return [(entry, choice) for entry, choice in found if choice.plan.precision not in _ROUNDED]
