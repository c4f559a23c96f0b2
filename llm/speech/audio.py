"""Sound out of any file that ffmpeg's libraries read, as mono 16 kHz, in blocks: never a whole recording at once."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np

from llm.errors import AudioTooLong, EmptyAudio, NoAudioStream, NotAudio, SilkAudio
from llm.speech.samples import MonoStream

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

LONGEST_WAIT_S = 20.0
"""Seconds of demuxing without a frame after which a damaged file is taken for ended."""
_SILK = b"#!SILK_V3"
_MP3_HEAD = 256 << 10
"""Bytes in which the header with an MP3's length stands, after a title picture of the usual size."""

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
        return _info(container, name, source)


def blocks(
    source: AudioSource, name: str, start_s: float = 0.0, end_s: float | None = None, rate: int = SAMPLE_RATE
) -> Iterator[np.ndarray]:
    """Decodes to float32 samples in [-1, 1], shape (n,), `rate` a second, at most `BLOCK_S` long each.

    Damaged frames are skipped. Sound that begins late is preceded by silence, so that times count from the start of
    the file as a player shows it. A stretch is decoded from the start, because seeking is inexact in MP3.

    Raises:
        EmptyAudio, NotAudio, NoAudioStream, AudioTooLong: see `probe`; the file held no sample, or more than allowed.
    """
    first = round(start_s * rate)
    last = round((LONGEST_S if end_s is None else end_s) * rate)
    at = 0  # samples seen
    with closing(_open(source, name)) as container:
        info = _info(container, name, source)
        for samples in _grouped(_mono(container, info.start_s, rate), rate):
            begin, at = at, at + len(samples)
            if at > first and begin < last:
                yield samples[max(first - begin, 0) : last - begin]
            if at >= last and end_s is not None:
                return
            if at > LONGEST_S * rate:
                raise AudioTooLong(name=name, hours=round(at / rate / 3600, 1), limit_hours=round(LONGEST_S / 3600))
    if at == 0:
        raise EmptyAudio(name=name)


def own_view(source: BinaryIO) -> BinaryIO:
    """The same bytes behind a position of their own: whoever shares a file object moves it under the other's feet."""
    if isinstance(source, io.BytesIO):
        return io.BytesIO(source.getvalue())  # shares the bytes until somebody writes
    if hasattr(os, "pread"):
        return io.BufferedReader(_Positioned(source.fileno()), buffer_size=1 << 16)
    source.seek(0)
    return io.BytesIO(source.read())


class _Positioned(io.RawIOBase):
    """A file read by descriptor, at a position that nobody else moves."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = os.pread(self._descriptor, len(buffer), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        self._at = (os.fstat(self._descriptor).st_size if begin is None else begin) + offset
        return self._at


def _open(source: AudioSource, name: str) -> InputContainer:
    import av

    if isinstance(source, str | Path):
        size = Path(source).stat().st_size
        with open(source, "rb") as file:
            head = file.read(len(_SILK) + 1)
    else:
        source = own_view(source)
        size = source.seek(0, 2)
        source.seek(0)
        head = source.read(len(_SILK) + 1)
        source.seek(0)
    if size == 0:
        raise EmptyAudio(name=name)
    if head.lstrip(b"\x02").startswith(_SILK):
        raise SilkAudio(name=name)
    # An absolute path, because ffmpeg would read a relative one such as "concat:a" as a protocol.
    opened: Any = str(Path(source).absolute()) if isinstance(source, str | Path) else source
    try:
        container: InputContainer = av.open(
            opened, mode="r", metadata_errors="ignore", options={"format_whitelist": FORMATS}
        )
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        raise NotAudio(name=name, detail=_reason(error)) from error
    return container


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error)


def _info(container: InputContainer, name: str, source: AudioSource) -> AudioInfo:
    if not container.streams.audio:
        raise NoAudioStream(name=name)
    stream = _track(container)
    context = stream.codec_context
    if context is None:
        raise NotAudio(name=name, detail="its codec is unknown")
    if _guessed_length(container, source):
        duration_s = None
    elif container.duration:
        duration_s = container.duration / 1_000_000  # AV_TIME_BASE
    elif stream.duration and stream.time_base:
        duration_s = float(stream.duration * stream.time_base)
    else:
        duration_s = None
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


def _track(container: InputContainer) -> Any:
    """The sound that a player plays: the track that the file calls its default, else the first."""
    tracks = container.streams.audio
    return next((track for track in tracks if track.disposition & track.disposition.default), tracks[0])


def _guessed_length(container: InputContainer, source: AudioSource) -> bool:
    """Whether the length is only ffmpeg's guess by the first frames' bit rate: ADTS, AMR, MP3 without its header."""
    kind = container.format.name
    if kind != "mp3":
        return kind in ("aac", "ac3", "amr", "eac3", "gsm")
    with open(source, "rb") if isinstance(source, str | Path) else own_view(source) as file:
        file.seek(0)
        head = file.read(_MP3_HEAD)
    return not any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))


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


def _mono(container: InputContainer, start_s: float, rate: int) -> Iterator[np.ndarray]:
    silence = round(start_s * rate)
    block = round(BLOCK_S * rate)
    for begin in range(0, silence, block):
        yield np.zeros(min(block, silence - begin), np.float32)
    timed = not {"aac", "mp3", "wav", "amr", "ac3", "flac"} & set(container.format.name.split(","))
    yield from MonoStream(rate, keeps_gaps=timed).of(_valid_frames(container))


def _valid_frames(container: InputContainer) -> Iterator[Any]:
    """Audio frames; what cannot be decoded is left out, since the rest may well be good."""
    import av

    track = _track(container)
    packets = container.demux(track)
    heard = time.monotonic()
    while time.monotonic() - heard < LONGEST_WAIT_S:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.error.FFmpegError, ValueError, OverflowError):
            return  # the container itself breaks off here
        try:
            frames = packet.decode()
        except (av.error.FFmpegError, ValueError, OverflowError):
            continue
        for frame in frames:
            if frame.sample_rate > 0 and frame.samples > 0:
                yield frame
                heard = time.monotonic()


def _grouped(parts: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Pieces of any size to blocks of about `BLOCK_S`."""
    held: list[np.ndarray] = []
    count = 0
    for part in parts:
        held.append(part)
        count += len(part)
        if count >= BLOCK_S * rate:
            yield np.concatenate(held)
            held, count = [], 0
    if count:
        yield np.concatenate(held)
