"""Files in requests: the words of documents, by the real clients of the three protocols."""

from __future__ import annotations

import base64
import io
from typing import Any

import anthropic
import docx
import openai
import pytest
from openai import OpenAI

from llm.api.conversion import messages
from llm.api.schemas import ChatMessage
from llm.messages import DocumentPart, TextPart
from tests.api.conftest import Served


def word(text: str) -> str:
    document, file = docx.Document(), io.BytesIO()
    document.add_paragraph(text)
    document.save(file)
    return base64.b64encode(file.getvalue()).decode()


def test_a_file_becomes_its_words() -> None:
    for data in (word("口令是剑鱼。"), "data:application/octet-stream;base64," + word("口令是剑鱼。")):
        file = {"type": "file", "file": {"filename": "a.docx", "file_data": data}}
        given = ChatMessage.model_validate({"role": "user", "content": [file, {"type": "text", "text": "?"}]})
        assert messages([given])[0].parts == (DocumentPart("a.docx", "口令是剑鱼。"), TextPart("?"))


def test_the_clients_send_files(client: OpenAI, served: Served, model: str) -> None:
    long = word("The password is swordfish. " * 20)
    part: Any = {"type": "file", "file": {"filename": "a.docx", "file_data": long}}
    said: Any = [{"role": "user", "content": [part, {"type": "text", "text": "What is it?"}]}]
    answer = client.chat.completions.create(model=model, messages=said, max_tokens=1)
    assert answer.usage and answer.usage.prompt_tokens > 100
    content: Any = [{"type": "input_file", "filename": "a.docx", "file_data": long}]
    response = client.responses.create(
        model=model, input=[{"role": "user", "content": content}], max_output_tokens=16, store=False
    )
    assert response.usage and response.usage.input_tokens > 100
    claude = anthropic.Anthropic(base_url=str(client.base_url).rstrip("/").removesuffix("/v1"), api_key="none")
    source: Any = {"type": "base64", "media_type": "application/pdf", "data": long}
    document: Any = {"type": "document", "source": source, "title": "a.docx"}
    reply = claude.messages.create(model=model, messages=[{"role": "user", "content": [document]}], max_tokens=1)
    assert reply.usage.input_tokens + (reply.usage.cache_read_input_tokens or 0) > 100


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(client: OpenAI, model: str) -> None:
    part: Any = {"type": "file", "file": {"filename": "a.docx", "file_data": "AAAA"}}
    with pytest.raises(openai.BadRequestError, match="damaged"):
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": [part]}], max_tokens=1)
