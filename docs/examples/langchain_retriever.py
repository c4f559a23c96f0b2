"""A LangChain retriever over a base of Hearth: pip install langchain-core httpx

retriever = HearthRetriever(base="…", url="http://127.0.0.1:8502/v1")
retriever.invoke("How long is the warranty?")
"""

from __future__ import annotations

from typing import Any

import httpx
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever


class HearthRetriever(BaseRetriever):
    """base: a base's id. key: where the server asks for one. k: how many passages at most."""

    base: str
    url: str = "http://127.0.0.1:8502/v1"
    key: str = ""
    k: int = 5

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        asked: dict[str, Any] = {"query": query, "top_k": self.k}
        answer = httpx.post(f"{self.url}/knowledge/{self.base}/search", json=asked, headers=headers, timeout=60)
        answer.raise_for_status()
        return [Document(passage.pop("text"), metadata=passage) for passage in answer.json()["data"]]
