"""Checkpoints of transformers with a head for one job: classes, entities, spans, words for a gap, another text.

They are loaded by transformers' auto classes from a local folder; no code of the folder is run, pickles are read with
torch's weights-only reader. What the outputs mean is known to `llm.tasks`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm.catalogue.entry import ModelEntry, Task
from llm.catalogue.heads import missing_packages, output_rows, tensor_shapes
from llm.catalogue.json_file import read_config
from llm.catalogue.weights import weight_files
from llm.engine import MemoryUse
from llm.errors import CorruptModel, MissingHead, MissingPackage, NoOffsets, OutOfMemory, UnsupportedModel
from llm.machine.allocation import is_out_of_memory
from llm.machine.torch_build import torch_build
from llm.plan import LoadPlan, LoadProgress

# See llm/engines/transformers/__init__.py: threads that spin take the time of those who share the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_AUTO_CLASSES: Mapping[Task, str] = {
    "text-classification": "AutoModelForSequenceClassification",
    "text-ranking": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "fill-mask": "AutoModelForMaskedLM",
    "summarization": "AutoModelForSeq2SeqLM",
    "translation": "AutoModelForSeq2SeqLM",
    "image-classification": "AutoModelForImageClassification",
    "object-detection": "AutoModelForObjectDetection",
    "audio-classification": "AutoModelForAudioClassification",
    "visual-question-answering": "AutoModelForVisualQuestionAnswering",
}
_SEGMENTERS: Mapping[str, str] = {
    "ForSemanticSegmentation": "AutoModelForSemanticSegmentation",
    "ForInstanceSegmentation": "AutoModelForInstanceSegmentation",
    "ForUniversalSegmentation": "AutoModelForUniversalSegmentation",
}
NEEDS_OFFSETS: frozenset[Task] = frozenset({"text-classification", "token-classification", "question-answering"})
_TOKENIZER_FILES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "source.spm",
    "tokenizer.model", "spm.model",
)  # fmt: skip


def load(entry: ModelEntry, path: Path, plan: LoadPlan, progress: LoadProgress) -> HeadModel:
    """Loads a checkpoint folder in float32 with the head of `entry.task`.

    Raises:
        MissingHead: its weights lack the head, which would be random numbers.
        MissingPackage: it needs a package that is not installed.
        NoOffsets: its tokenizer does not tell where in the text a token stands, and the job needs that.
        CorruptModel, UnsupportedModel, OutOfMemory.
    """
    progress("checking", 0, 1)
    config = read_config(path)
    for package in missing_packages(config):
        raise MissingPackage(package=package)
    files = weight_files(path)
    reader = _reader(entry, path)
    progress("weights", 0, 1)
    model = _load_model(entry, path, config, output_rows(tensor_shapes(files))).to(torch_device(plan)).eval()
    progress("ready", 1, 1)
    return HeadModel(entry, model, reader)


def torch_device(plan: LoadPlan) -> str:
    """Where a network is put: on the GPU if there is one and the plan does not say otherwise."""
    import torch

    return "cuda" if plan.device in ("auto", "cuda") and torch_build().cuda and torch.cuda.is_available() else "cpu"


def _load_model(entry: ModelEntry, path: Path, config: Mapping[str, Any], rows: int) -> Any:
    import torch
    import transformers
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    auto_class = getattr(transformers, _auto_class(entry.task, config, path))
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        settings = transformers.AutoConfig.from_pretrained(path, **local)
        if rows and rows != settings.num_labels:
            # Names of another head are not used: "class 3" says less than they do, and nothing wrong.
            settings.id2label = {number: f"LABEL_{number}" for number in range(rows)}
        model, info = auto_class.from_pretrained(
            path, config=settings, dtype=torch.float32, output_loading_info=True, **local
        )
    except Exception as error:  # readers of several formats, each with its own kinds of error
        if is_out_of_memory(error):
            raise OutOfMemory(model=entry.name, detail=str(error)) from error
        raise CorruptModel(path=str(path), detail=f"{type(error).__name__}: {error}"[:400]) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise MissingHead(path=path.name, task=entry.task, missing=", ".join(missing[:4]))
    return model


def _auto_class(task: Task, config: Mapping[str, Any], path: Path) -> str:
    if task != "image-segmentation":
        found = _AUTO_CLASSES.get(task)
        if found is None:
            raise UnsupportedModel(path=str(path), detail=f"no head here does {task}")
        return found
    architecture = str((config.get("architectures") or [""])[0])
    return next(
        (auto for end, auto in _SEGMENTERS.items() if architecture.endswith(end)), "AutoModelForImageSegmentation"
    )


def _reader(entry: ModelEntry, path: Path) -> Any:
    """What turns texts, pictures or sound into the model's inputs: its tokenizer, image processor or extractor."""
    import transformers

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    kind: Any
    if "image" in entry.abilities and "text" in entry.abilities:
        kind = transformers.AutoProcessor
    elif "image" in entry.abilities:
        kind = transformers.AutoImageProcessor
    elif "audio" in entry.abilities:
        kind = transformers.AutoFeatureExtractor
    else:
        kind = transformers.AutoTokenizer
        if not any((path / name).is_file() for name in _TOKENIZER_FILES):
            raise CorruptModel(path=str(path), detail=f"it has no tokenizer ({', '.join(_TOKENIZER_FILES[:4])} …)")
    try:
        reader = kind.from_pretrained(path, **local)
    except Exception as error:  # as above
        raise CorruptModel(path=str(path), detail=f"{type(error).__name__}: {error}"[:400]) from error
    if entry.task in NEEDS_OFFSETS and not getattr(reader, "is_fast", False):
        raise NoOffsets(path=path.name)
    return reader


class HeadModel:
    """A network with its head, and what reads its inputs. Both keep state while they work, hence the lock.

    model: a transformers model in eval mode. reader: its tokenizer, image processor or feature extractor.
    """

    def __init__(self, entry: ModelEntry, model: Any, reader: Any) -> None:
        self.entry = entry
        self.model = model
        self.reader = reader
        self.lock = threading.RLock()

    @property
    def config(self) -> Any:
        return self.model.config

    def forward(self, **inputs: Any) -> Any:
        """One forward without gradients; tensors go to the model's device."""
        import torch

        with torch.inference_mode():
            return self.model(**{name: value.to(self.model.device) for name, value in inputs.items()})

    def memory(self) -> MemoryUse:
        """What the weights take, by device; nothing once they are freed."""
        if self.model is None:
            return MemoryUse({})
        held = sum(weight.numel() * weight.element_size() for weight in self.model.parameters())
        return MemoryUse({str(self.model.device): held})

    def close(self) -> None:
        """Frees the weights."""
        self.model = None
