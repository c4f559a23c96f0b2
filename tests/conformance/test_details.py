"""What the reference folders record beside prompts: windows, vocabularies, pictures, replies, prefixes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from llm import families
from llm.checkpoints import checkpoint_loader
from llm.families.base import RenderOptions
from llm.families.chatglm_reply import glm_tool_call, process_response
from llm.families.qwen_vl import QwenVLTokenizer, pixels
from llm.messages import ImagePart, Message
from tests.conformance.published import ROOT, case_named, case_of, expected, reference, without_pictures

VISUAL_TOLERANCE = 2e-5


def altered(folder: str, place: Path, **files: dict[str, Any]) -> Path:
    """A copy of a folder, by links, with other values in some of its JSON files."""
    copy = place / folder
    copy.mkdir()
    for file in (ROOT / folder).iterdir():
        if file.stem not in files:
            (copy / file.name).symlink_to(file)
    for stem, values in files.items():
        original = json.loads((ROOT / folder / f"{stem}.json").read_text(encoding="utf-8"))
        (copy / f"{stem}.json").write_text(json.dumps(original | values), encoding="utf-8")
    return copy


def loader_of(folder: Path) -> tuple[Any, dict[str, Any]]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return checkpoint_loader(config), config


def prompt_ids(folder: Path, family: str, messages: list[Message]) -> list[int]:
    """Ids of a prompt by a folder's vocabulary, without its weights."""
    loader, config = loader_of(folder)
    tokenizer = loader.load_tokenizer(folder, config)
    spans = families.family(family).render(messages, tokenizer, RenderOptions())
    return [token_id for token_id, _, _ in tokenizer.encode_spans(spans)]


def model_of(folder: Path) -> Any:
    """The model of a folder in float32, without an engine."""
    loader, config = loader_of(folder)
    return loader.load_model(folder, config, dtype=torch.float32)


@pytest.mark.parametrize("window", [20, 45, 60, 90])
def test_qwen_drops_the_oldest_turns(window: int, tmp_path: Path) -> None:
    recorded = next(case for case in expected("qwen")["window_truncation"] if case["max_window_size"] == window)
    copy = altered("qwen", tmp_path, generation_config={"max_window_size": window})
    assert prompt_ids(copy, "qwen", case_named("qwen", recorded["messages_of"]).messages) == recorded["input_ids"]


@pytest.mark.parametrize("folder", ["baichuan2-7b", "baichuan2-13b"])
@pytest.mark.parametrize("room", [8, 20, 34, 60])
def test_baichuan_drops_rounds_and_cuts_the_last(folder: str, room: int, tmp_path: Path) -> None:
    recorded = next(
        case for case in expected(folder)["window_truncation"] if case["model_max_length_minus_max_new_tokens"] == room
    )
    longest = json.loads((ROOT / folder / "config.json").read_text())["model_max_length"]
    copy = altered(folder, tmp_path, generation_config={"max_new_tokens": longest - room})
    assert prompt_ids(copy, "baichuan", case_named(folder, recorded["messages_of"]).messages) == recorded["input_ids"]


def test_qwen_under_the_key_names_of_its_first_revision(tmp_path: Path) -> None:
    copy = altered("qwen", tmp_path)
    (copy / "config.json").unlink()
    (copy / "config.json").write_bytes((ROOT / "qwen" / "early_revision" / "config.json").read_bytes())
    case = case_named("qwen", "case6")
    with torch.inference_mode():
        logits = model_of(copy)(torch.tensor([case.ids])).logits[0, -1]
    assert (logits - reference("qwen")[case.values["last_logits"]]).abs().max() <= 2e-4


@pytest.mark.parametrize("folder", ["qwen-vl-chat", "qwen-vl-chat-int4"])
def test_pictures(folder: str, loaded: Any) -> None:
    handle, tensors = loaded(folder), reference(folder)
    for image in expected(folder)["images"]:
        picture = ImagePart((ROOT / folder / image["file"]).read_bytes())
        values = torch.from_numpy(pixels(picture, handle.tokenizer.image_size))
        assert torch.equal(values, tensors[image["pixel_values"]])
        with torch.inference_mode():
            embeddings = handle.model.visual(values[None])[0]
        assert (embeddings - tensors[image["visual_output"]]).abs().max() <= VISUAL_TOLERANCE


@pytest.mark.parametrize("folder", ["qwen-vl-chat", "qwen-vl-chat-int4"])
def test_qwen_vl_with_the_published_vocabulary(folder: str, loaded: Any) -> None:
    handle = loaded(folder)
    recorded = json.loads((ROOT / folder / "expected_published_vocab.json").read_text(encoding="utf-8"))
    tokenizer = QwenVLTokenizer(
        ROOT / "qwen" / "qwen.tiktoken", handle.tokenizer.image_size, handle.tokenizer.picture_label
    )
    assert {tag: tokenizer.special_tokens[tag] for tag in recorded["special_ids"]} == recorded["special_ids"]
    picture = tokenizer.special_tokens["<img>"], tokenizer.special_tokens["</img>"]
    for values in recorded["prompts"]:
        case = case_of(folder, values)
        if case.types_tags:
            continue
        ids = [
            token[0]
            for token in tokenizer.encode_spans(handle.family.render(case.messages, tokenizer, RenderOptions()))
        ]
        assert without_pictures(ids, *picture) == without_pictures(case.ids, *picture)


@pytest.mark.parametrize(
    ("folder", "encodings"),
    [
        ("chatglm", "encode_no_special"),
        ("chatglm2", "encode_no_special"),
        ("chatglm3", "encode_no_special"),
        ("qwen", "encode_no_special_allowed"),
        ("baichuan2-7b", "encode"),
    ],
)
def test_words(folder: str, encodings: str, loaded: Any) -> None:
    """Text without tags has the original's ids; text that spells tags has none of theirs."""
    tokenizer = loaded(folder).tokenizer
    tags = set(tokenizer.special_tokens.values())
    for recorded in expected(folder)["tokenizer"][encodings]:
        ids = tokenizer.encode_text(recorded["text"])
        names_a_tag = any(tag in recorded["text"] for tag in (*tokenizer.special_tokens, "<pad>"))
        if names_a_tag and recorded["ids"] != ids:
            assert not tags & set(ids)
        else:
            assert ids == recorded["ids"]


@pytest.mark.parametrize("folder", ["chatglm", "chatglm-int4", "chatglm2", "chatglm3", "qwen", "baichuan2-7b"])
def test_decoding(folder: str, loaded: Any) -> None:
    tokenizer, facts = loaded(folder).tokenizer, expected(folder)["tokenizer"]
    for recorded in facts.get("decode_sp_wrapper", facts["decode"]):
        if not recorded.get("skip_special_tokens"):
            assert tokenizer.decode(recorded["ids"]) == recorded["text"]


def test_chatglm_replies(loaded: Any) -> None:
    tokenizer = loaded("chatglm").tokenizer
    for recorded in expected("chatglm")["process_response"]:
        assert process_response(recorded["output"]) == recorded["reply"]
    for values in expected("chatglm")["prompts"]:
        answer = values["greedy_ids"][: values["greedy_first_stop"]]
        assert process_response(tokenizer.decode(answer)) == values["chat_reply"]


def test_chatglm3_tool_call() -> None:
    recorded = expected("chatglm3")["process_response"][1]
    words, calls = glm_tool_call(recorded["output"])
    assert (words, calls[0].name, json.loads(calls[0].arguments)) == ("", "get_weather", {"city": "北京"})


def test_chatglm_int4_weights(loaded: Any) -> None:
    """A layer that torch's kernel doesn't take keeps the file's bytes and unpacks them to the recorded weight."""
    recorded = expected("chatglm-int4")["dequantised_example"]
    layer = loaded("chatglm-int4").model.transformer.layers[0].attention.dense
    assert layer.weight.dtype == torch.int8
    assert torch.equal(layer.weight_of(torch.float32), reference("chatglm-int4")[recorded["values"]].float())


def test_gptq_weights_stay_packed(loaded: Any) -> None:
    model = loaded("qwen-vl-chat-int4").model
    layer = model.model.layers[0].mlp.gate_proj
    held = sum(buffer.numel() * buffer.element_size() for buffer in layer.buffers())
    unpacked = 4 * model.config.hidden_size * model.config.intermediate_size
    assert held < unpacked / 4


@pytest.mark.parametrize("layout", ["beside the weights", "a checkpoint of its own"])
def test_chatglm_prefix(layout: str, tmp_path: Path) -> None:
    facts, tensors = expected("chatglm")["ptuning"], reference("chatglm")
    values = {"pre_seq_len": facts["pre_seq_len"], "prefix_projection": facts["prefix_projection"]}
    if layout == "beside the weights":
        copy = altered("chatglm", tmp_path, config=values)
    else:
        copy = altered("chatglm", tmp_path, config=values | {"_name_or_path": str(ROOT / "chatglm")})
        for file in copy.glob("pytorch_model*"):
            file.unlink()
        (copy / "pytorch_model.bin").symlink_to(ROOT / "chatglm" / facts["file"])
    model = model_of(copy)
    for recorded in facts["prompts"]:
        case = case_named("chatglm", recorded["case"])
        ids = torch.tensor([case.ids])
        with torch.inference_mode():
            logits = model(ids).logits[0, -1]
            answer = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, eos_token_id=None
            )
        assert (logits - tensors[recorded["last_logits"]]).abs().max() <= 2e-4
        assert answer[0, ids.shape[1] :].tolist() == recorded["greedy_ids"]
