"""Captions ranked by tiny random CLIPs, with the numbers that transformers itself gives."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    ChineseCLIPConfig,
    ChineseCLIPModel,
    CLIPConfig,
    CLIPModel,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from llm.catalogue.lookup import find
from llm.engines.clip import load
from llm.errors import CorruptModel
from llm.messages import ImagePart
from llm.plan import LoadPlan

CAPTIONS = ["a red square", "a blue circle", "一只猫"]


def tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.train_from_iterator(CAPTIONS, trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]", "[END]"]))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", eos_token="[END]", model_max_length=32
    )


def tiny_clip(kind: str, folder: Path) -> Path:
    torch.manual_seed(3)
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**size, "vocab_size": 40, "pad_token_id": 0, "max_position_embeddings": 40}
    vision = {**size, "image_size": 32, "patch_size": 8}
    if kind == "clip":
        text |= {"bos_token_id": 1, "eos_token_id": 2}
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    else:
        model = ChineseCLIPModel(ChineseCLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def red() -> ImagePart:
    stream = io.BytesIO()
    Image.new("RGB", (50, 40), "red").save(stream, "PNG")
    return ImagePart(stream.getvalue())


@pytest.mark.parametrize("kind", ["clip", "chinese_clip"])
def test_ranking_is_transformers_own(kind: str, tmp_path: Path) -> None:
    folder = tiny_clip(kind, tmp_path)
    entry = find(folder)
    assert entry.task == "zero-shot-image-classification"
    model = load(entry, folder, LoadPlan(), lambda *_: None)
    ranked = model.rank(red(), CAPTIONS)
    cls = CLIPModel if kind == "clip" else ChineseCLIPModel
    pixels = CLIPImageProcessorPil.from_pretrained(folder)(Image.new("RGB", (50, 40), "red"), return_tensors="pt")
    with torch.inference_mode():
        texts = tokenizer()(CAPTIONS, padding=True, return_tensors="pt")
        wanted = cls.from_pretrained(folder)(**texts, **pixels).logits_per_image[0].softmax(-1)
    shares = dict(ranked)
    assert [shares[caption] for caption in CAPTIONS] == pytest.approx(wanted.tolist(), abs=1e-5)
    assert sorted(shares.values(), reverse=True) == [share for _, share in ranked]
    assert model.memory().total_bytes > 0


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    folder = tiny_clip("clip", tmp_path)
    entry = find(folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CorruptModel):
        load(entry, folder, LoadPlan(), lambda *_: None)
