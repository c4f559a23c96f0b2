"""Which job a checkpoint is for: as transformers' own lists have it, or by its tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers.models.auto import modeling_auto

from llm.catalogue.entry import ONE_JOB
from llm.catalogue.heads import head_of
from llm.catalogue.lookup import find
from llm.errors import UnsupportedModel
from tests.tasks import text_models as tiny

LISTS = {
    "SEQUENCE_CLASSIFICATION": "text-classification",
    "TOKEN_CLASSIFICATION": "token-classification",
    "QUESTION_ANSWERING": "question-answering",
    "MASKED_LM": "fill-mask",
    "IMAGE_CLASSIFICATION": "image-classification",
    "OBJECT_DETECTION": "object-detection",
    "SEMANTIC_SEGMENTATION": "image-segmentation",
    "INSTANCE_SEGMENTATION": "image-segmentation",
    "UNIVERSAL_SEGMENTATION": "image-segmentation",
    "AUDIO_CLASSIFICATION": "audio-classification",
}
# Classes of two lists, and those of one picture network with three ways to take pixels.
REWRITES_RATHER = {"BartForConditionalGeneration", "MBartForConditionalGeneration", "MvpForConditionalGeneration"}
UNREAD = {"XLMWithLMHeadModel", "FlaubertWithLMHeadModel"}


@pytest.mark.parametrize("name", LISTS)
def test_classes_are_sorted_as_transformers_sorts_them(name: str) -> None:
    listed: dict[str, Any] = getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES")
    for model_type, classes in listed.items():
        for cls in classes if isinstance(classes, tuple) else (classes,):
            if cls in REWRITES_RATHER | UNREAD or "Perceiver" in cls:
                continue
            head = head_of({"model_type": model_type, "architectures": [cls]})
            assert head is not None and head.task == LISTS[name], cls


def test_texts_from_texts_are_told_from_chat_and_pictures() -> None:
    def task(model_type: str, cls: str, **extra: Any) -> str | None:
        head = head_of({"model_type": model_type, "architectures": [cls], **extra})
        return head.task if head else None

    assert task("marian", "MarianMTModel") == "translation"
    assert task("bart", "BartForConditionalGeneration") == "summarization"
    t5 = {"task_specific_params": {"translation_en_to_de": {}}}
    assert task("t5", "T5ForConditionalGeneration", **t5) == "translation"
    assert task("qwen2_vl", "Qwen2VLForConditionalGeneration") is None
    assert task("llama", "LlamaForCausalLM") is None and task("bert", "BertModel") is None
    assert task("vilt", "ViltForQuestionAnswering") == "visual-question-answering"


@pytest.mark.parametrize(
    ("cls", "task"),
    [
        ("BertForQuestionAnswering", "question-answering"),
        ("BertForMaskedLM", "fill-mask"),
        ("BertForSequenceClassification", "text-classification"),
    ],
)
def test_tensors_tell_where_the_config_does_not(tmp_path: Path, cls: str, task: str) -> None:
    model = getattr(transformers, cls)(tiny.bert_config(["a"], 16))
    folder = tiny.save(tmp_path / "m", model, ["a"])
    config = folder / "config.json"
    config.write_text(config.read_text().replace(f'"{cls}"', '"BertModel"'))
    assert find(folder).task == task


def test_a_bare_trunk_makes_vectors_of_texts_or_nothing(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "m", transformers.BertModel(tiny.bert_config(["a"], 16)), ["a"])
    assert find(folder).task == "feature-extraction"
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"BertModel"', '"ViTModel"').replace('"bert"', '"vit"'))
    with pytest.raises(UnsupportedModel, match="ViTModel"):
        find(folder)


def test_missing_packages_are_named_before_anything_is_fetched() -> None:
    config = {"model_type": "mask2former", "architectures": ["Mask2FormerForUniversalSegmentation"]}
    head = head_of(config)
    assert head is not None and head.missing in ((), ("scipy",)) and head.task in ONE_JOB
    timm = {"model_type": "detr", "architectures": ["DetrForObjectDetection"], "use_timm_backbone": True}
    head = head_of(timm)
    assert head is not None and head.missing in ((), ("timm",))
