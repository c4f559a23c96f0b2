"""Ready-made inputs for each job, in the visitor's language; one of them is a case that the small models get wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llm.catalogue.entry import Task
from llm.paths import EXAMPLES


@dataclass(frozen=True, slots=True)
class Example:
    """name: its words are `tasks.example_<name>`. file: by language, in assets/examples."""

    name: str
    file: Mapping[str, str]

    def data(self, language: str) -> tuple[bytes, str]:
        """The file's bytes and name."""
        file = self.file.get(language) or self.file["en"]
        return (EXAMPLES / file).read_bytes(), file


_CAT = Example("cat", {"en": "cat.jpg"})
_COFFEE = Example("coffee", {"en": "coffee.jpg"})
_ASTRONAUT = Example("astronaut", {"en": "astronaut.jpg"})
_ASTRONAUT_WRONG = Example("astronaut_wrong", {"en": "astronaut.jpg"})
_PAGE = Example("page", {"en": "page-en.png", "zh": "page-zh.png"})
_VOICE = Example("voice", {"en": "voice-en.ogg", "zh": "voice-zh.ogg"})

EXAMPLES_OF: Mapping[Task, tuple[Example, ...]] = {
    "image-classification": (_CAT, _COFFEE, _ASTRONAUT_WRONG, _PAGE),
    "object-detection": (_PAGE, _CAT),
    "image-segmentation": (_CAT, _ASTRONAUT, _COFFEE),
    "audio-classification": (_VOICE,),
}
