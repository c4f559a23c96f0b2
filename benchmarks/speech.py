"""Speech to text side by side: raw faster-whisper, Hearth's engine as the page runs it, transformers' pipeline.

    python benchmarks/speech.py speed      [--peers raw-batched,hearth,...] [--minutes 10] [--words] [--rounds 1]
    python benchmarks/speech.py accuracy
    python benchmarks/speech.py memory     [--minutes 120]

All of a run hear the same sound and, but for transformers, use the same weights (the starter model). transformers gets
random weights of the same size, since the starter's are not in its layout, and as many tokens a window to write as
Whisper wrote: good for speed, not for words. Real speech comes from two packages of the package index (see
tests/speech/samples.py).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llm.catalogue.lookup import find
from llm.chat import recordings
from llm.config import config
from llm.engines.whisper.engine import load
from llm.jobs import jobs
from llm.plan import LoadPlan
from llm.runtime import handles
from llm.runtime.speech_model import SpeechModel
from llm.sources import fetch
from llm.speech.audio import SAMPLE_RATE, blocks
from llm.speech.chunks import BATCHED, chunks
from llm.speech.options import SpeechOptions
from llm.speech.segments import Transcription
from llm.speech.transcriber import Recording
from llm.store import store
from tests.speech import samples

THREADS = config().threads or os.cpu_count() or 1
TOKENS_A_WINDOW = 95
"""What Whisper base writes for 30 s of the reading, counted."""
Result = tuple[str, float]
"""The text, and the seconds until its first segment."""


def starter() -> Path:
    return fetch(find(config().starter_speech))


def raw_model():
    from faster_whisper import WhisperModel

    return WhisperModel(str(starter()), device="cpu", compute_type="int8", cpu_threads=THREADS)


def _joined(segments, begun: float) -> Result:
    texts, first_s = [], 0.0
    for segment in segments:
        first_s = first_s or time.perf_counter() - begun
        texts.append(segment.text.strip())
    return " ".join(texts), first_s


def raw_sequential(words: bool) -> Callable[[Path], Result]:
    model = raw_model()

    def run(path: Path) -> Result:
        begun = time.perf_counter()
        segments, _ = model.transcribe(str(path), vad_filter=True, word_timestamps=words)
        return _joined(segments, begun)

    return run


def raw_batched(words: bool) -> Callable[[Path], Result]:
    from faster_whisper import BatchedInferencePipeline

    pipeline = BatchedInferencePipeline(raw_model())

    def run(path: Path) -> Result:
        begun = time.perf_counter()
        segments, _ = pipeline.transcribe(str(path), batch_size=8, word_timestamps=words)
        return _joined(segments, begun)

    return run


def hearth_model() -> SpeechModel:
    entry = find(config().starter_speech)
    return SpeechModel(entry, load(entry, starter(), LoadPlan(device="cpu"), lambda *_: None))


def hearth(words: bool) -> Callable[[Path], Result]:
    """Through a job, as the page starts one; its thread writes and this one polls."""
    entry = find(config().starter_speech)
    handles.transcriber(entry)

    def run(path: Path) -> Result:
        begun, first_s = time.perf_counter(), 0.0
        options = SpeechOptions(word_timestamps=words)
        job = recordings.start([Recording(path, path.name)], options, entry.id, "benchmark")
        while job.active:
            job = jobs().wait(job.id, 0.05) or job
            if recordings.files_of(job)[0].segments and not first_s:
                first_s = time.perf_counter() - begun
        (file,) = recordings.files_of(job)
        if file.error_code:
            raise RuntimeError(file.error_text)
        kept = store("benchmark")
        text = Transcription.of(kept.transcripts.get(file.transcript_id).payload).text
        kept.transcripts.delete(file.transcript_id)
        kept.purge(timedelta())
        return text.replace("\n", " "), first_s

    return run


def transformers_pipeline(words: bool) -> Callable[[Path], Result]:
    import torch
    from faster_whisper.audio import decode_audio
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
        pipeline,
    )

    torch.set_num_threads(THREADS)
    shape = WhisperConfig(
        d_model=512,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_ffn_dim=2048,
    )
    model = WhisperForConditionalGeneration(shape).eval()
    length = TOKENS_A_WINDOW
    model.generation_config = GenerationConfig(
        decoder_start_token_id=50258,
        eos_token_id=50257,
        pad_token_id=50257,
        min_new_tokens=length,
        max_new_tokens=length,
    )
    end = "<|endoftext|>"
    tokenizer = WhisperTokenizer.from_pretrained(str(starter()), eos_token=end, pad_token=end, unk_token=end)
    recognise = pipeline(
        "automatic-speech-recognition",
        model=model,
        tokenizer=tokenizer,
        feature_extractor=WhisperFeatureExtractor(),
        chunk_length_s=30,
        batch_size=4,
    )

    def run(path: Path) -> Result:
        begun = time.perf_counter()
        text = recognise({"raw": decode_audio(str(path)), "sampling_rate": 16_000})["text"]
        return text, time.perf_counter() - begun

    return run


PEERS = {
    "raw-sequential": raw_sequential,
    "raw-batched": raw_batched,
    "hearth": hearth,
    "transformers": transformers_pipeline,
}


def repeated(minutes: float, folder: Path) -> Path:
    """The reading over and over as an MP3 of that length."""
    import av
    import numpy as np

    path = folder / f"{minutes:g}min.mp3"
    whole = np.concatenate(list(blocks(samples.two_cities(), "two_cities.wav")))
    left, at = round(minutes * 60 * SAMPLE_RATE), 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono", bit_rate=64_000)
        while left > at:
            part = (whole[: left - at] * 32767).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(part, "s16p", "mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, at
            container.mux(stream.encode(frame))
            at += part.shape[1]
        container.mux(stream.encode(None))
    return path


def speed(peers: list[str], minutes: float, words: bool, rounds: int) -> None:
    """In turns, so that all see the same machine; a line for each run."""
    with tempfile.TemporaryDirectory() as folder:
        path = repeated(minutes, Path(folder))
        print(f"{minutes:g} minutes of speech, {THREADS} threads, word times {'on' if words else 'off'}")
        runs = {name: PEERS[name](words) for name in peers}
        for name, run in list(runs.items()) * rounds:
            begun = time.perf_counter()
            text, first_s = run(path)
            took_s = time.perf_counter() - begun
            row = {
                "peer": name,
                "times_real_time": round(minutes * 60 / took_s, 2),
                "first_segment_s": round(first_s, 2),
            }
            print(json.dumps({**row, "took_s": round(took_s, 1), "words": len(text.split())}), flush=True)


def accuracy() -> None:
    runs = {name: PEERS[name](False) for name in ("raw-sequential", "raw-batched", "hearth")}
    for name, run in runs.items():
        rate = samples.error_rate(samples.TWO_CITIES, run(samples.two_cities())[0])
        print(json.dumps({"peer": name, "sample": "two_cities.wav", "word_error_rate": round(rate, 4)}), flush=True)
    for language in ("zh", "ja", "fr", "en"):
        for name, run in runs.items():
            rates = [samples.error_rate(text, run(path)[0], characters=True) for path, text in samples.spoken(language)]
            mean = round(sum(rates) / len(rates), 4)
            each = [round(rate, 3) for rate in rates]
            print(
                json.dumps({"peer": name, "language": language, "character_error_rate": mean, "each": each}), flush=True
            )


def memory(minutes: float) -> None:
    """Peak resident memory of a process each: ours over the whole file, the raw ones up to their first segment.

    `cut` is ours without the recogniser: decoding and finding speech, which is what could grow with the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = repeated(minutes, Path(folder))
        for name in ("loaded", "cut", "hearth", "raw-batched", "raw-sequential"):
            subprocess.run([sys.executable, __file__, "peak", "--peers", name, "--file", str(path)], check=True)


def peak(name: str, path: Path) -> None:
    if name == "raw-batched":
        from faster_whisper import BatchedInferencePipeline

        next(iter(BatchedInferencePipeline(raw_model()).transcribe(str(path), beam_size=1, language="en")[0]))
    elif name == "raw-sequential":
        next(iter(raw_model().transcribe(str(path), beam_size=1, language="en", vad_filter=True)[0]))
    else:
        model = hearth_model()
        if name == "cut":
            for _ in chunks(blocks(path, path.name), BATCHED):
                pass
        elif name == "hearth":
            options = SpeechOptions(beam_size=1, language="en", word_timestamps=False)
            for _ in model.transcribe(path, options):
                pass
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peer": name, "peak_resident_mb": round(most / 1e6)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("speed", "accuracy", "memory", "peak"))
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--file", type=Path)
    given = parser.parse_args()
    if given.what == "speed":
        speed(given.peers.split(","), given.minutes or 10, given.words, given.rounds)
    elif given.what == "accuracy":
        accuracy()
    elif given.what == "memory":
        memory(given.minutes or 120)
    else:
        peak(given.peers, given.file)


if __name__ == "__main__":
    main()
