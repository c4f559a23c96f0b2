"""Hearth's models: one interface over every family and engine.

    import llm
    model = llm.load("smollm2-135m-instruct-q4_1")
    for event in model.stream([llm.user("Hello!")], llm.GenerationSettings()):
        if isinstance(event, llm.TextDelta):
            print(event.text, end="")

Importing the package loads no engine: torch, transformers and llama.cpp come with the first model that
needs them.
"""

from __future__ import annotations

from pathlib import Path

from llm.cancel import Cancel
from llm.errors import ModelError
from llm.events import Event, Finished, Progress, PromptReady, TextDelta, ThinkingDelta, ToolCallReady
from llm.messages import Message, assistant, system, user
from llm.plan import LoadPlan, LoadProgress
from llm.runtime.protocols import LoadedModel
from llm.settings import GenerationSettings

__all__ = [
    "Cancel",
    "Event",
    "Finished",
    "GenerationSettings",
    "LoadPlan",
    "LoadedModel",
    "Message",
    "ModelError",
    "Progress",
    "PromptReady",
    "TextDelta",
    "ThinkingDelta",
    "ToolCallReady",
    "assistant",
    "load",
    "system",
    "user",
]


def load(model: str | Path, plan: LoadPlan | None = None, progress: LoadProgress | None = None) -> LoadedModel:
    """The shared handle of a catalogue id, a model folder or a .gguf file. See `llm.runtime.handles.load`."""
    from llm.runtime import handles

    return handles.load(model, plan, progress)
