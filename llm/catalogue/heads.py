"""Which job a checkpoint was trained for, told from its files alone: no tensor is read and nothing is executed.

The evidence, strongest first: the class that `architectures` names, then the names of the tensors where it names none
or a bare trunk. transformers' own lists of classes say the same (a test compares them); they are not imported here,
because looking at a model must not take seconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llm.catalogue.entry import Task
from llm.catalogue.weights import tensor_places
from llm.errors import CorruptModel

_ENDINGS: Mapping[str, Task] = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForQuestionAnsweringSimple": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForImageClassification": "image-classification",
    "ForImageClassificationWithTeacher": "image-classification",
    "ForObjectDetection": "object-detection",
    "ForSemanticSegmentation": "image-segmentation",
    "ForInstanceSegmentation": "image-segmentation",
    "ForUniversalSegmentation": "image-segmentation",
    "ForSegmentation": "image-segmentation",
    "ForAudioClassification": "audio-classification",
    "ForCTC": "automatic-speech-recognition",
}
_VISUAL_QUESTIONS = {"BlipForQuestionAnswering", "ViltForQuestionAnswering"}
# Sound models whose classes are called as those of text.
_LISTENS = {
    "data2vec-audio", "hubert", "sew", "sew-d", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-bert",
    "wav2vec2-conformer", "wavlm",
}  # fmt: skip
_REWRITES = {
    "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "encoder-decoder", "fsmt", "led", "longt5", "m2m_100",
    "marian", "mbart", "mt5", "mvp", "nllb-moe", "pegasus", "pegasus_x", "plbart", "prophetnet", "switch_transformers",
    "t5", "t5gemma", "umt5",
}  # fmt: skip
"""Model types that turn one text into another (encoder and decoder)."""
_TRANSLATES = {"fsmt", "m2m_100", "marian", "mbart", "nllb-moe"}
_BY_TENSOR: tuple[tuple[str, Task], ...] = (
    ("qa_outputs.", "question-answering"),
    ("class_labels_classifier.", "object-detection"),
    ("bbox_predictor.", "object-detection"),
    ("decode_head.", "image-segmentation"),
    ("cls.predictions.", "fill-mask"),
    ("lm_head.", "fill-mask"),
    ("vocab_projector.", "fill-mask"),
    ("projector.", "audio-classification"),
    ("classifier.", "text-classification"),
    ("score.", "text-classification"),
)
ENCODERS = {
    "albert", "bert", "camembert", "convbert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "funnel",
    "mobilebert", "modernbert", "mpnet", "nezha", "rembert", "roberta", "roformer", "xlm-roberta",
}  # fmt: skip
"""Text models whose tensors' names tell what they do, where config.json does not."""
_NEEDS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"mask2former", "maskformer", "oneformer", "eomt", "eomt_dinov3"}), "scipy"),
    (frozenset({"rf_detr", "sam2", "sam3", "pp_lcnet", "dinov3_vit", "timm_wrapper"}), "torchvision"),
)
_OUTPUT_ROWS = (
    "classifier.weight",
    "classifier.out_proj.weight",
    "score.weight",
    "classification_head.out_proj.weight",
    "logits_proj.weight",
)


@dataclass(frozen=True, slots=True)
class Head:
    """What a checkpoint's head does. missing: packages that it needs and that are not installed here."""

    task: Task
    missing: tuple[str, ...] = ()


def head_of(config: Mapping[str, Any], tensors: Iterable[str] = ()) -> Head | None:
    """The head that a config.json describes; None where it is none of a single job (a chat model, a bare trunk).

    Args:
        tensors: the names of its weights, asked only where the config names no head.
    """
    model_type = str(config.get("model_type", "")).lower()
    task = _by_class(config, model_type) or _by_tensors(model_type, tensors)
    return None if task is None else Head(task, missing_packages(config))


def missing_packages(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Packages that the model needs to be built, and that are not installed here."""
    model_type = str(config.get("model_type", "")).lower()
    wanted = [package for types, package in _NEEDS if model_type in types]
    backbone = config.get("backbone")
    if config.get("use_timm_backbone") and (backbone or not config.get("backbone_config")):
        wanted.append("timm")
    return tuple(package for package in wanted if find_spec(package) is None)


def _by_class(config: Mapping[str, Any], model_type: str) -> Task | None:
    for name in map(str, config.get("architectures") or ()):
        if name in _VISUAL_QUESTIONS:
            return "visual-question-answering"
        for ending, task in _ENDINGS.items():
            if name.endswith(ending):
                heard = task == "text-classification" and model_type in _LISTENS
                return "audio-classification" if heard else task
        if name.endswith("ForPreTraining") and model_type in {"bert", "albert", "mobilebert"}:
            return "fill-mask"
        if name.endswith("ForConditionalGeneration") or name in {"MarianMTModel", "EncoderDecoderModel"}:
            return _rewriting(config, model_type) if model_type in _REWRITES else None
    return None


def _rewriting(config: Mapping[str, Any], model_type: str) -> Task:
    params = config.get("task_specific_params") or {}
    if model_type in _TRANSLATES:
        return "translation"
    translates = any(str(name).startswith("translation") for name in params)
    return "translation" if translates and "summarization" not in params else "summarization"


def _by_tensors(model_type: str, tensors: Iterable[str]) -> Task | None:
    if model_type not in ENCODERS and model_type not in _LISTENS:
        return None
    names = tuple(tensors)
    for begin, task in _BY_TENSOR:
        if any(name.startswith(begin) for name in names):
            if task == "audio-classification" and model_type not in _LISTENS:
                continue
            return task
    return None


def tensor_shapes(files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in safetensors files, from their headers. Others, and damaged ones, give none."""
    found: dict[str, tuple[int, ...]] = {}
    for path in files:
        if path.suffix == ".safetensors":
            with contextlib.suppress(CorruptModel, OSError):
                found |= {name: place.shape for name, place in tensor_places(path).items()}
    return found


def ranks_pairs(config: Mapping[str, Any]) -> bool:
    """Whether a classifier gives one number for a pair of texts, as rerankers (cross-encoders) do."""
    architecture = str((config.get("architectures") or [""])[0])
    labels = config.get("id2label")
    one = len(labels) == 1 if isinstance(labels, dict) else config.get("num_labels") == 1
    return architecture.endswith("ForSequenceClassification") and one and config.get("problem_type") != "regression"


def output_rows(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many classes a classifying head has by its weights; 0 where they do not tell."""
    return next((shapes[name][0] for name in _OUTPUT_ROWS if len(shapes.get(name, ())) >= 2), 0)
