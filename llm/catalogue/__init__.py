"""What models exist: entries from `models.toml` and the user's own, looked up by id or local path."""

from llm.catalogue.entry import Ability, ModelEntry, Shape, Source, Task

__all__ = ["Ability", "ModelEntry", "Shape", "Source", "Task"]
