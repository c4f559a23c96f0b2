"""Networks with a head, tiny and random: the same answers as transformers' own pipelines where those are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from llm.errors import UnsupportedModel
from llm.tasks import image_heads

SIDE = 32
NAMES = {0: "cat", 1: "dog", 2: "LABEL_2"}


def _noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def _vit(**extra: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=SIDE,
        patch_size=8,
        id2label=NAMES,
        **extra,
    )
    processor = transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE})
    return transformers.ViTForImageClassification(config).eval(), processor


def _yolos() -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = transformers.YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[SIDE, SIDE],
        patch_size=8,
        num_detection_tokens=6,
        use_mid_position_embeddings=False,
        id2label=NAMES,
    )
    processor = transformers.YolosImageProcessor(size={"shortest_edge": SIDE, "longest_edge": 2 * SIDE})
    return transformers.YolosForObjectDetection(config).eval(), processor


def _segformer() -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 8],
        patch_sizes=[3, 3],
        strides=[2, 2],
        num_attention_heads=[1, 1],
        mlp_ratios=[1, 1],
        decoder_hidden_size=8,
        id2label=NAMES,
    )
    processor = transformers.SegformerImageProcessor(size={"height": SIDE, "width": SIDE})
    return transformers.SegformerForSemanticSegmentation(config).eval(), processor


def _panoptic_detr() -> tuple[Any, Any]:
    torch.manual_seed(0)
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        backbone_config=backbone,
        use_pretrained_backbone=False,
        backbone=None,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=5,
        id2label=NAMES,
    )
    processor = transformers.DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 128})
    return transformers.DetrForSegmentation(config).eval(), processor


def _pipeline(task: str, model: Any, processor: Any, image: Any, **options: Any) -> Any:
    return transformers.pipeline(task, model=model, image_processor=processor, device="cpu")(image, **options)


def test_classes_and_scores_are_the_pipelines_own() -> None:
    model, processor = _vit()
    image = _noise(50, 40)
    labels, scores = image_heads.classify(model, processor, image)
    theirs = {row["label"]: row["score"] for row in _pipeline("image-classification", model, processor, image)}
    assert labels == ("cat", "dog", "class 2") and scores.sum() == pytest.approx(1)
    assert scores == pytest.approx([theirs[name] for name in NAMES.values()], abs=1e-5)


def test_independent_classes_are_not_shared_out() -> None:
    model, processor = _vit(problem_type="multi_label_classification")
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([4.0, 4.0, -4.0]))
    assert image_heads.classify(model, processor, _noise(9, 9))[1] == pytest.approx([0.982, 0.982, 0.018], abs=1e-3)


def test_names_of_another_head_are_not_used() -> None:
    assert image_heads.label_names(transformers.ViTConfig(id2label={0: "a", 1: "b"}), 3) == (
        "class 0",
        "class 1",
        "class 2",
    )


def test_boxes_are_the_pipelines_own_and_stay_in_the_picture() -> None:
    model, processor = _yolos()
    image = _noise(61, 40)
    labels, scores, boxes = image_heads.detect(model, processor, image, 0.2)
    theirs = _pipeline("object-detection", model, processor, image, threshold=0.2)
    assert len(scores) and (np.diff(scores) <= 0).all()
    assert scores == pytest.approx(sorted((row["score"] for row in theirs), reverse=True), abs=1e-5)
    assert boxes.min() >= 0 and (boxes.max(0) <= [61, 40, 61, 40]).all()
    assert set(labels) <= {"cat", "dog", "class 2"}


def test_segments_without_scores_cover_the_picture_once() -> None:
    model, processor = _segformer()
    image = _noise(61, 40)
    parts = image_heads.segment(model, processor, image)
    theirs = _pipeline("image-segmentation", model, processor, image)
    assert image_heads.kinds_of(processor) == ("semantic",)
    assert sum(part.mask for part in parts).tolist() == np.ones((40, 61)).tolist()
    assert all(part.score is None for part in parts)
    ours = {part.label.replace("class ", "LABEL_"): int(part.mask.sum()) for part in parts}
    assert ours == {row["label"]: int((np.asarray(row["mask"]) > 0).sum()) for row in theirs}


def test_segments_with_scores_are_the_pipelines_own() -> None:
    model, processor = _panoptic_detr()
    image = _noise(90, 64)
    parts = image_heads.segment(model, processor, image, threshold=0.2)
    theirs = _pipeline("image-segmentation", model, processor, image, threshold=0.2, subtask="panoptic")
    assert {part.mask.shape for part in parts} <= {(64, 90)}
    assert sorted(part.score or 0 for part in parts) == pytest.approx(sorted(row["score"] for row in theirs), abs=1e-5)


def test_a_segmentation_that_the_model_cannot_make_is_refused() -> None:
    model, processor = _segformer()
    with pytest.raises(UnsupportedModel, match="semantic"):
        image_heads.segment(model, processor, _noise(9, 9), "panoptic")


def test_a_picture_of_one_pixel_has_an_answer() -> None:
    dot = Image.new("RGB", (1, 1))
    assert image_heads.classify(*_vit(), dot)[1].shape == (3,)
    assert image_heads.segment(*_segformer(), dot)[0].mask.shape == (1, 1)
