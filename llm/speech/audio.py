"""Sound out of any file that ffmpeg's libraries read, as mono 16 kHz, in blocks: never a whole recording at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np

from llm.errors import AudioTooLong, EmptyAudio, NoAudioStream, NotAudio

if TYPE_CHECKING:
    from av.container import InputContainer

SAMPLE_RATE = 16_000
"""Samples per second that Whisper and the voice activity model hear."""
BLOCK_S = 10.0
LONGEST_S = 6 * 3600.0
"""Longer recordings are refused: their text no longer fits an editor."""
FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,gsm,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "mxf,nut,ogg,rm,tak,tta,voc,w64,wav,webm,wtv,wv"
)
"""ffmpeg demuxers that read nothing but the file at hand. Playlists (hls, concat, dash) would open files and addresses
that a stranger's upload names."""
_PLAYED = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "m4a": "audio/mp4",
    "webm": "audio/webm",
    "aac": "audio/aac",
}
_PLAYED_CODECS = {"pcm_s16le", "pcm_u8", "pcm_f32le", "mp3", "flac", "vorbis", "opus", "aac"}
_LATEST_START_S = 3600.0  # a stream's claimed start beyond this is taken for a clock, not for an offset

AudioSource: TypeAlias = str | Path | BinaryIO


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a file says of itself. `duration_s` None: it doesn't say (a browser's recording, a raw stream).

    start_s: how long the picture runs before the sound begins. media_type: as which browsers play the file itself;
    empty where they can't, or where it holds a film beside the sound.
    """

    duration_s: float | None
    container: str
    codec: str
    channels: int
    sample_rate: int
    start_s: float = 0.0
    media_type: str = ""


def probe(source: AudioSource, name: str) -> AudioInfo:
    """Looks at a file's headers.

    Raises:
        EmptyAudio: it has no bytes.
        NotAudio: no demuxer knows it.
        NoAudioStream: it holds no sound (a silent video, a picture).
        AudioTooLong: it says that it is longer than `LONGEST_S`.
    """
    with closing(_open(source, name)) as container:
        return _info(container, name)


def blocks(source: AudioSource, name: str, start_s: float = 0.0, end_s: float | None = None) -> Iterator[np.ndarray]:
    """Decodes to float32 samples in [-1, 1], shape (n,), `SAMPLE_RATE` a second, at most `BLOCK_S` long each.

    Damaged frames are skipped. Sound that begins late is preceded by silence, so that times count from the start of
    the file as a player shows it. A stretch is decoded from the start, because seeking is inexact in MP3.

    Raises:
        EmptyAudio, NotAudio, NoAudioStream, AudioTooLong: see `probe`; the file held no sample, or more than allowed.
    """
    first = round(start_s * SAMPLE_RATE)
    last = round((LONGEST_S if end_s is None else end_s) * SAMPLE_RATE)
    at = 0  # samples seen
    with closing(_open(source, name)) as container:
        info = _info(container, name)
        for samples in _grouped(_resampled(container, info.start_s)):
            begin, at = at, at + len(samples)
            if at > first and begin < last:
                yield samples[max(first - begin, 0) : last - begin]
            if at >= last and end_s is not None:
                return
            if at > LONGEST_S * SAMPLE_RATE:
                raise AudioTooLong(
                    name=name, hours=round(at / SAMPLE_RATE / 3600, 1), limit_hours=round(LONGEST_S / 3600)
                )
    if at == 0:
        raise EmptyAudio(name=name)


def _open(source: AudioSource, name: str) -> InputContainer:
    import av

    if isinstance(source, str | Path):
        size = Path(source).stat().st_size
    else:
        size = source.seek(0, 2)
        source.seek(0)
    if size == 0:
        raise EmptyAudio(name=name)
    # An absolute path, because ffmpeg would read a relative one such as "concat:a" as a protocol.
    opened: Any = str(Path(source).absolute()) if isinstance(source, str | Path) else source
    try:
        container: InputContainer = av.open(
            opened, mode="r", metadata_errors="ignore", options={"format_whitelist": FORMATS}
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise NotAudio(name=name, detail=_reason(error)) from error
    return container


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error)


def _info(container: InputContainer, name: str) -> AudioInfo:
    if not container.streams.audio:
        raise NoAudioStream(name=name)
    stream = container.streams.audio[0]
    context = stream.codec_context
    duration_s = None
    if container.duration:
        duration_s = container.duration / 1_000_000  # AV_TIME_BASE
    elif stream.duration and stream.time_base:
        duration_s = float(stream.duration * stream.time_base)
    if duration_s is not None and duration_s > LONGEST_S:
        raise AudioTooLong(name=name, hours=round(duration_s / 3600, 1), limit_hours=round(LONGEST_S / 3600))
    return AudioInfo(
        duration_s,
        container.format.name,
        context.name,
        context.channels,
        context.sample_rate,
        _start_s(container, stream),
        _played_as(container, context.name),
    )


def _played_as(container: InputContainer, codec: str) -> str:
    kinds = container.format.name.split(",")
    kind = next((kind for kind in kinds if kind in _PLAYED), "")
    film = any(not stream.disposition & stream.disposition.attached_pic for stream in container.streams.video)
    return _PLAYED[kind] if kind and not film and codec.removesuffix("float") in _PLAYED_CODECS else ""


def _start_s(container: InputContainer, stream: Any) -> float:
    """Seconds between the container's start and the sound's, 0 when there is nothing sensible to read."""
    if stream.start_time is None or stream.time_base is None or container.start_time is None:
        return 0.0
    start_s = float(stream.start_time * stream.time_base) - container.start_time / 1_000_000
    return start_s if 0.02 < start_s < _LATEST_START_S else 0.0


def _resampled(container: InputContainer, start_s: float) -> Iterator[np.ndarray]:
    from av.audio.resampler import AudioResampler

    resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    silence = round(start_s * SAMPLE_RATE)
    block = round(BLOCK_S * SAMPLE_RATE)
    for begin in range(0, silence, block):
        yield np.zeros(min(block, silence - begin), np.int16)
    for frame in _frames_and_end(container):
        for part in resampler.resample(frame):
            yield part.to_ndarray().reshape(-1)


def _frames_and_end(container: InputContainer) -> Iterator[Any]:
    yield from _valid_frames(container)
    yield None  # the resampler holds back a few samples until told that nothing follows


def _valid_frames(container: InputContainer) -> Iterator[Any]:
    """Audio frames; what cannot be decoded is left out, since the rest may well be good."""
    import av

    packets = container.demux(audio=0)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            return  # the container itself breaks off here
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue
        for frame in frames:
            frame.pts = None  # timestamps with jumps would make the resampler refuse
            yield frame


def _grouped(parts: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """int16 pieces of any size to float32 blocks of about `BLOCK_S`."""
    held: list[np.ndarray] = []
    count = 0
    for part in parts:
        held.append(part)
        count += len(part)
        if count >= BLOCK_S * SAMPLE_RATE:
            yield np.concatenate(held).astype(np.float32) / 32768.0
            held, count = [], 0
    if count:
        yield np.concatenate(held).astype(np.float32) / 32768.0
