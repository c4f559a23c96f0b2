"""Why a document cannot be read."""

from __future__ import annotations

from llm.errors import ModelError


class DocumentUnreadable(ModelError):
    """The root of them all."""

    code, status = "document_unreadable", 400
    sentence = "{name} cannot be read: {detail}."


class UnknownDocument(DocumentUnreadable):
    code = "unknown_document"
    sentence = (
        "{name} is of a kind that is not read here. Text, PDF, DOCX, XLSX, PPTX, HTML, EPUB, mail, pictures and "
        "recordings are."
    )


class EmptyDocument(DocumentUnreadable):
    code = "empty_document"
    sentence = "{name} is empty: there is not a single word in it."


class DamagedDocument(DocumentUnreadable):
    code = "damaged_document"
    sentence = "{name} is damaged, or is no {kind} file ({detail}). Open it in its own program and save it again."


class EncryptedDocument(DocumentUnreadable):
    code = "encrypted_document"
    sentence = "{name} is protected with a password. Save a copy without one and add that."


class OldOfficeDocument(DocumentUnreadable):
    code = "old_office_document"
    sentence = "{name} is in the format of Office before 2007. Save it as DOCX, XLSX or PPTX and add that."


class DocumentTooLarge(DocumentUnreadable):
    code, status = "document_too_large", 413
    sentence = "{name} is too large: {size}, and {limit} is the most."


class DocumentInflates(DocumentUnreadable):
    """A zip bomb, or something that looks like one."""

    code, status = "document_inflates", 413
    sentence = "{name} unpacks to far more than it should ({limit} is the most) and is not read."


class DocumentTooHeavy(DocumentUnreadable):
    """Memory or time ran out."""

    code, status = "document_too_heavy", 413
    sentence = "{name} takes more than {limit} to read and was left. Divide it into parts and add those."


class WrongEncoding(DocumentUnreadable):
    code = "wrong_encoding"
    sentence = "{name} is not text in the encoding {encoding}. Choose another one."


class ForbiddenMarkup(DocumentUnreadable):
    """Entities that expand themselves or lead elsewhere."""

    code = "forbidden_markup"
    sentence = "{name} defines XML entities, which are used to attack programs that read documents. It is not read."


class NeedsSpeechModel(DocumentUnreadable):
    code, status = "needs_speech_model", 409
    sentence = "A speech model is needed to read {name}, a recording. Get one on the Speech page and try again."
