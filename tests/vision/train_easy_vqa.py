"""Trains a small Qwen2-VL on easy-VQA: pictures of one coloured shape and questions about it.

    pip install easy-vqa==1.0
    python -m tests.vision.train_easy_vqa OUT_FOLDER

The data (MIT licence, Victor Zhou) comes with the package `easy-vqa`: 4,000 pictures with 38,575 questions to
learn from, and 1,000 other pictures with 9,673 questions that are only asked at the end. The weights that the
end-to-end tests use were made by this script; `Trainer` can be called in short stretches too.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy
import torch
from PIL import Image
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.byte_level import byte_level_bpe
from tests.vision.tiny_vlm import TAGS

# Qwen2-VL's template without its default system prompt.
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIDE, PATCH, IMAGE_TOKENS = 64, 8, 16
VOCABULARY = 640
LOOKING_PASSES, ASKING_PASSES = 6.0, 5.0
PICTURES_PER_STEP, QUESTIONS_PER_PICTURE = 32, 3
HIGHEST_RATE, WARM_UP_STEPS = 1.5e-3, 60
SHAPES = ("circle", "rectangle", "triangle")
COLOURS = ("black", "gray", "red", "green", "blue", "yellow", "teal", "brown")

Questions = dict[int, list[tuple[str, str]]]


def read_split(split: str) -> tuple[numpy.ndarray, Questions]:
    """Pictures (count, 64, 64, 3) uint8 and the questions with answers of each. `split`: train or test."""
    import easy_vqa

    folder = Path(easy_vqa.__file__).parent / "data" / split
    questions: Questions = defaultdict(list)
    for question, answer, picture in json.loads((folder / "questions.json").read_text(encoding="utf-8")):
        questions[picture].append((question, answer))
    files = [folder / "images" / f"{picture}.png" for picture in range(len(questions))]
    return numpy.stack([numpy.asarray(Image.open(file).convert("RGB")) for file in files]), questions


def make_tokenizer(questions: Questions) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the questions' words, with Qwen's tags."""
    words = [text for asked in questions.values() for pair in asked for text in (*pair, pair[0].capitalize())]
    tokenizer = byte_level_bpe([*words, "user\n", "assistant\n", "\n"], VOCABULARY - len(TAGS), TAGS)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2VLForConditionalGeneration:
    ids = {tag: tokenizer.convert_tokens_to_ids(tag) for tag in TAGS}
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 160,
            "intermediate_size": 432,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 6, 6]},
            "tie_word_embeddings": True,
            "eos_token_id": ids["<|im_end|>"],
            "bos_token_id": None,
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={"depth": 3, "embed_dim": 128, "hidden_size": 160, "num_heads": 4, "patch_size": PATCH},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    config.eos_token_id = ids["<|im_end|>"]
    return Qwen2VLForConditionalGeneration(config)


def make_processor() -> Qwen2VLImageProcessorPil:
    return Qwen2VLImageProcessorPil(patch_size=PATCH, size={"shortest_edge": SIDE * SIDE, "longest_edge": SIDE * SIDE})


class Trainer:
    """Learns in steps; everything that `save` needs is in it.

    First the eyes alone: a layer that is thrown away afterwards has to tell shape and colour from each token in whose
    part of the picture the shape lies. Without it the language model learns to guess from the words and never looks.
    Then the language model answers questions over what the eyes see, which stay as they are. Each is asked by itself,
    as an earlier answer would give away the next.
    """

    def __init__(self, looking_passes: float = LOOKING_PASSES, asking_passes: float = ASKING_PASSES) -> None:
        torch.manual_seed(0)
        self._random = random.Random(0)
        self.pictures, self.questions = read_split("train")
        self._labels = {picture: _labels(asked) for picture, asked in self.questions.items()}
        self.tokenizer = make_tokenizer(self.questions)
        self.processor = make_processor()
        self.model = make_model(self.tokenizer)
        with torch.no_grad():  # the usual 0.02 is too little for layers this narrow
            for layer in self.model.model.modules():
                if isinstance(layer, (torch.nn.Linear, torch.nn.Conv3d)):
                    layer.weight.normal_(std=layer.weight[0].numel() ** -0.5)
        self._names = torch.nn.Linear(self.model.config.text_config.hidden_size, len(SHAPES) + len(COLOURS))
        steps_per_pass = len(self.pictures) / PICTURES_PER_STEP
        self.looking_steps = int(looking_passes * steps_per_pass)
        self.steps = self.looking_steps + int(asking_passes * steps_per_pass)
        self.done = 0
        self._order = self._endless_order()
        self._encoded: dict[str, list[int]] = {}
        self._begin([*self.model.model.visual.parameters(), *self._names.parameters()], self.looking_steps)

    def _begin(self, parameters: Iterable[torch.nn.Parameter], steps: int) -> None:
        self._parameters = list(parameters)
        self._optimizer = torch.optim.AdamW(self._parameters, lr=HIGHEST_RATE, betas=(0.9, 0.98), weight_decay=0.05)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, HIGHEST_RATE, steps, pct_start=WARM_UP_STEPS / steps
        )

    def step(self) -> tuple[float, float]:
        """One step; its loss and the share of shapes and colours, later of answer tokens, that were right."""
        chosen = [next(self._order) for _ in range(PICTURES_PER_STEP)]
        if self.done == self.looking_steps:
            self.model.model.visual.requires_grad_(False)
            self._begin(self.model.model.language_model.parameters(), self.steps - self.looking_steps)
        loss, right = self._look(chosen) if self.done < self.looking_steps else self._answer(chosen)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._schedule.step()
        self.done += 1
        return loss.item(), right

    def _look(self, chosen: list[int]) -> tuple[torch.Tensor, float]:
        pictures = [self._mirrored(picture) for picture in chosen]
        inside = torch.from_numpy(numpy.concatenate([_where_the_shape_is(picture) for picture in pictures]))
        scores = self._names(self._seen(pictures))[inside]
        wanted = torch.tensor([self._labels[picture] for picture in chosen]).repeat_interleave(IMAGE_TOKENS, 0)[inside]
        shapes, colours = scores.split([len(SHAPES), len(COLOURS)], dim=1)
        cross_entropy = torch.nn.functional.cross_entropy
        loss = cross_entropy(shapes, wanted[:, 0], ignore_index=-100)
        loss = loss + cross_entropy(colours, wanted[:, 1], ignore_index=-100)
        known = wanted[:, 0] != -100
        return loss, (shapes.argmax(1) == wanted[:, 0])[known].float().mean().item()

    def _answer(self, chosen: list[int]) -> tuple[torch.Tensor, float]:
        asked = [
            (place, self._conversation(picture))
            for place, picture in enumerate(chosen)
            for _ in range(QUESTIONS_PER_PICTURE)
        ]
        rows, labels = zip(*(conversation for _, conversation in asked), strict=True)
        ids, wanted = _padded(rows, self.tokenizer.pad_token_id), _padded(labels, -100)
        mask = _padded([[1] * len(row) for row in rows], 0)
        pads = ids == self.model.config.image_token_id
        grids = torch.tensor([[1, SIDE // PATCH, SIDE // PATCH]] * len(rows))
        positions, _ = self.model.model.get_rope_index(ids, pads.int(), image_grid_thw=grids, attention_mask=mask)
        # Each picture is looked at once for all the questions about it.
        seen = self._seen([self._mirrored(picture) for picture in chosen]).view(len(chosen), IMAGE_TOKENS, -1)[
            [place for place, _ in asked]
        ]
        words = self.model.get_input_embeddings()(ids)
        words = words.masked_scatter(pads.unsqueeze(-1).expand_as(words), seen)
        outputs = self.model(inputs_embeds=words, position_ids=positions, attention_mask=mask)
        guesses, targets = outputs.logits[:, :-1].flatten(0, 1), wanted[:, 1:].flatten()
        loss = torch.nn.functional.cross_entropy(guesses, targets, ignore_index=-100)
        answers = targets != -100
        return loss, (guesses.argmax(-1)[answers] == targets[answers]).float().mean().item()

    def _seen(self, pictures: list[numpy.ndarray]) -> torch.Tensor:
        """What the language model is given of pictures: (pictures * IMAGE_TOKENS, hidden size)."""
        inputs = self.processor([Image.fromarray(picture) for picture in pictures], return_tensors="pt")
        seen: torch.Tensor = self.model.model.visual(
            inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]
        ).pooler_output
        return seen

    def _mirrored(self, picture: int) -> numpy.ndarray:
        """A picture, or at random its mirror image: shapes and colours stay."""
        pixels = self.pictures[picture]
        return numpy.ascontiguousarray(pixels[:, ::-1]) if self._random.random() < 0.5 else pixels

    def save(self, folder: Path) -> None:
        """A checkpoint folder as the hubs have them, weights in float16."""
        self.model.eval()
        generation = self.model.generation_config
        generation.eos_token_id = self.model.config.eos_token_id
        generation.pad_token_id = self.tokenizer.pad_token_id
        kept = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.half().save_pretrained(folder)
        self.model.float().load_state_dict(kept)
        self.tokenizer.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        self.model.train()

    def _endless_order(self) -> Iterator[int]:
        while True:
            order = list(range(len(self.pictures)))
            self._random.shuffle(order)
            yield from order

    def _conversation(self, picture: int) -> tuple[list[int], list[int]]:
        """Ids of a question about one picture with its answer, and the same with -100 for all that isn't answer."""
        question, answer = self._random.choice(self.questions[picture])
        if self._random.random() < 0.3:
            question = question.capitalize()
        opening = "<|vision_start|>" + "<|image_pad|>" * IMAGE_TOKENS + "<|vision_end|>"
        prompt = self._ids(f"<|im_start|>user\n{opening}{question}<|im_end|>\n<|im_start|>assistant\n")
        reply = self._ids(f"{answer}<|im_end|>")
        return [*prompt, *reply], [*[-100] * len(prompt), *reply]

    def _ids(self, text: str) -> list[int]:
        known = self._encoded.get(text)
        if known is None:
            known = self._encoded[text] = self.tokenizer.encode(text, add_special_tokens=False)
        return known


def _where_the_shape_is(picture: numpy.ndarray) -> numpy.ndarray:
    """Which of a picture's tokens (IMAGE_TOKENS,) cover a part of the shape: what differs from the background."""
    background = numpy.median(picture.reshape(-1, 3), axis=0)
    shape = abs(picture.astype(int) - background).sum(-1) > 60
    squares = SIDE // 4
    return shape.reshape(4, squares, 4, squares).any(axis=(1, 3)).reshape(-1)


def _labels(asked: list[tuple[str, str]]) -> tuple[int, int]:
    """Shape and colour of a picture as its questions' answers name them; -100 where none does."""
    said = {answer for _, answer in asked}
    return (
        next((index for index, name in enumerate(SHAPES) if name in said), -100),
        next((index for index, name in enumerate(COLOURS) if name in said), -100),
    )


def _padded(rows: list[list[int]] | tuple[list[int], ...], filler: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])


@torch.inference_mode()
def held_out_accuracy(trainer: Trainer, limit: int | None = None) -> float:
    """The share of the held-out questions that a greedy answer gets right, word for word."""
    pictures, questions = read_split("test")
    trainer.model.eval()
    right = total = 0
    for picture, asked in questions.items():
        if limit is not None and picture >= limit:
            break
        patches = trainer.processor(Image.fromarray(pictures[picture]), return_tensors="pt")
        opening = "<|vision_start|>" + "<|image_pad|>" * IMAGE_TOKENS + "<|vision_end|>"
        texts = [f"<|im_start|>user\n{opening}{question}<|im_end|>\n<|im_start|>assistant\n" for question, _ in asked]
        batch = trainer.tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
        answers = trainer.model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            mm_token_type_ids=(batch["input_ids"] == trainer.model.config.image_token_id).int(),
            pixel_values=patches["pixel_values"].repeat(len(texts), 1),
            image_grid_thw=patches["image_grid_thw"].repeat(len(texts), 1),
            max_new_tokens=6,
            do_sample=False,
        )
        written = trainer.tokenizer.batch_decode(answers[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        right += sum(text == answer for text, (_, answer) in zip(written, asked, strict=True))
        total += len(asked)
    trainer.model.train()
    return right / total


def main() -> None:
    folder = Path(sys.argv[1])
    trainer = Trainer()
    began = time.perf_counter()
    while trainer.done < trainer.steps:
        loss, right = trainer.step()
        if trainer.done % 50 == 0:
            print(
                f"{trainer.done}/{trainer.steps} loss {loss:.3f} right {right:.1%} {time.perf_counter() - began:.0f} s"
            )
    trainer.save(folder)
    print(f"held-out accuracy {held_out_accuracy(trainer):.2%}")


if __name__ == "__main__":
    main()
