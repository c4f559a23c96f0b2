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


@dataclass(frozen=True, slots=True)
class TextExample:
    """name: its words are `tasks.text_<name>`. inputs: by language, what the job takes, in order."""

    name: str
    inputs: Mapping[str, tuple[str, ...]]


_LONG_EN = (
    "The town council met on Monday evening to decide about the old bridge over the Mill River. Engineers had warned "
    "in March that its pillars were cracked. After two hours of debate the council voted, eleven to four, to build a "
    "new one beside it. The new bridge will cost 20 million euros and is to open in the summer of 2028. Until then "
    "lorries must take the road through Ashby, and a small ferry will carry people on foot."
)
_LONG_ZH = (
    "周一晚上，镇议会开会讨论磨坊河上的旧桥。三月份，工程师曾警告说桥墩已经开裂。经过两个小时的辩论，议会以十一票对四票"
    "通过决议：在旧桥旁边修建一座新桥。新桥造价两千万元，计划于2028年夏天通车。在此之前，货车须绕行阿什比公路，行人可以"
    "乘坐小渡船过河。"
)
TEXT_EXAMPLES: Mapping[Task, tuple[TextExample, ...]] = {
    "text-classification": (
        TextExample(
            "liked", {"en": ("I loved every minute of this film.",), "zh": ("这家店的服务非常好，下次还来。",)}
        ),
        TextExample(
            "disliked",
            {"en": ("The battery died after two days. Never again.",), "zh": ("用了两天就坏了，太失望了。",)},
        ),
        TextExample("tricky", {"en": ("Not bad at all, though I had feared the worst.",), "zh": ("这部电影不难看。",)}),
    ),
    "token-classification": (
        TextExample(
            "news",
            {
                "en": ("Angela Merkel met Tim Cook of Apple in Berlin on Tuesday.",),
                "zh": ("张三在北京的清华大学读书，他的朋友李四在上海的华为公司工作。",),
            },
        ),
        TextExample("tricky", {"en": ("May left Paris Hilton in Paris in May.",), "zh": ("黄河在黄山看黄河。",)}),
    ),
    "question-answering": (
        TextExample(
            "bridge",
            {"en": ("When is the new bridge to open?", _LONG_EN), "zh": ("新桥什么时候通车？", _LONG_ZH)},
        ),
        TextExample("no_answer", {"en": ("Who is the mayor?", _LONG_EN), "zh": ("镇长是谁？", _LONG_ZH)}),
    ),
    "fill-mask": (
        TextExample("capital", {"en": ("Paris is the [MASK] of France.",), "zh": ("北京是中国的[MASK]都。",)}),
        TextExample("two_gaps", {"en": ("The ___ of the house is ___.",), "zh": ("他在___里看___。",)}),
    ),
    "summarization": (TextExample("bridge", {"en": (_LONG_EN,), "zh": (_LONG_ZH,)}),),
    "translation": (
        TextExample(
            "letter",
            {
                "en": ("Good morning,\n\nThe parcel has arrived. Thank you very much!",),
                "zh": ("早上好：\n\n包裹已经收到了，非常感谢！",),
            },
        ),
    ),
}

EXAMPLES_OF: Mapping[Task, tuple[Example, ...]] = {
    "image-classification": (_CAT, _COFFEE, _ASTRONAUT_WRONG, _PAGE),
    "object-detection": (_PAGE, _CAT),
    "image-segmentation": (_CAT, _ASTRONAUT, _COFFEE),
    "audio-classification": (_VOICE,),
}
