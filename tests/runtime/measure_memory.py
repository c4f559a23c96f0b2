"""Loads one model in this process, lets it answer, and prints how much memory that took: run as a program.

Standard input: JSON {engine, path, precision, context_tokens, prompt_tokens}. Standard output: JSON {estimated,
loaded, peak}, bytes. Measured is the growth of the process's resident memory over what it had with the
engine's libraries imported.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import sys
import tempfile
import threading
import time
import wave
from pathlib import Path
from typing import Any

import psutil

from llm.planning.engines import ENGINES


def rss() -> int:
    return psutil.Process().memory_info().rss


class Peak(threading.Thread):
    """Watches the resident memory until stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.01):
            self.bytes = max(self.bytes, rss())


def warm(engine: str) -> None:
    """Everything that comes with the libraries and is paid once, whatever models are loaded."""
    importlib.import_module(ENGINES[engine].module)
    if engine == "llamacpp":
        import xllamacpp  # noqa: F401
    elif engine == "whisper":
        import faster_whisper  # noqa: F401
    else:
        import torch
        from transformers import Qwen2Config, Qwen2ForCausalLM

        tiny = Qwen2Config(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
        )
        Qwen2ForCausalLM(tiny)(torch.zeros((1, 4), dtype=torch.long))


def answer(name: str, engine: Any, prompt_tokens: int) -> None:
    {"whisper": transcribe, "clip": rank}.get(name, generate)(engine, prompt_tokens)


def transcribe(recogniser: Any, _: int) -> None:
    """380 seconds of noise: a short window, half a batch and a full one.

    Above temperature 0 no window is decoded again, which noise would be six times and takes no more memory.
    """
    import numpy as np

    from llm.cancel import Cancel
    from llm.speech import transcriber
    from llm.speech.options import SpeechOptions

    with tempfile.NamedTemporaryFile(suffix=".wav", delete=False) as file, wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        noise = np.random.default_rng(0).normal(0, 3000, 16000 * 380).astype(np.int16)
        out.writeframes(noise.tobytes())
    recording = transcriber.Recording(file.name, "noise")
    list(transcriber.transcribe(recogniser, recording, SpeechOptions(vad_filter=False, temperature=0.2), Cancel()))
    Path(file.name).unlink()


def rank(engine: Any, _: int) -> None:
    from PIL import Image

    from llm.messages import ImagePart

    picture = io.BytesIO()
    Image.effect_noise((800, 600), 50).convert("RGB").save(picture, "PNG")
    engine.rank(ImagePart(picture.getvalue()), ["a picture"] * 8)


def generate(engine: Any, prompt_tokens: int) -> None:
    from llm.cancel import Cancel
    from llm.prompt import Piece, Prompt
    from llm.settings import GenerationSettings

    ids = tuple(300 + (i * 7919) % 3000 for i in range(prompt_tokens))
    prompt = Prompt("", ids, tuple(Piece(i, "", "user") for i in ids), engine.context_tokens)
    settings = GenerationSettings(max_length=24, temperature=0)
    for _ in engine.generate(prompt, settings, frozenset(), Cancel()):
        pass


def main() -> None:
    asked = json.load(sys.stdin)
    from llm.catalogue.lookup import entry_of_path
    from llm.plan import LoadPlan
    from llm.planning.memory import estimate

    path = Path(asked["path"])
    entry = entry_of_path(path)
    plan = LoadPlan("cpu", asked["precision"], asked["context_tokens"])
    estimated = estimate(entry, plan, path)
    warm(asked["engine"])
    gc.collect()
    before = rss()
    engine = importlib.import_module(ENGINES[asked["engine"]].module).load(entry, path, plan, lambda *_: None)
    loaded = rss() - before
    watch = Peak()
    watch.start()
    answer(asked["engine"], engine, asked["prompt_tokens"])
    time.sleep(0.1)
    watch.done.set()
    watch.join()
    print(
        json.dumps(
            {
                "estimated": estimated.total_bytes,
                "weights": estimated.weights_bytes,
                "kv": estimated.kv_bytes,
                "activation": estimated.activation_bytes,
                "precision": estimated.precision,
                "loaded": loaded,
                "peak": watch.bytes - before,
                "after": rss() - before,
                "memory": engine.memory().total_bytes,
            }
        )
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
