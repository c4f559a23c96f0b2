"""Knowledge over HTTP: from a file to a cited answer; and nothing crosses from one key to another."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llm.access.api_keys import Keys
from llm.config import config
from tests.api.conftest import ROOT, Served, free_port, serve_command, start, stop

TEXT = "保修期为两年，自购买之日起计算。\n\n故障代码 E-2099 表示温度过高，请断电冷却三十分钟。"


class Asking:
    def __init__(self, url: str, key: str = "") -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=f"{url}/v1", headers=headers, timeout=120)

    def base(self, name: str, **more: Any) -> str:
        return str(self.http.post("/knowledge", json={"name": name, "embedder": "", **more}).json()["id"])

    def add(self, base: str, name: str, data: bytes) -> dict[str, Any]:
        made = self.http.post(f"/knowledge/{base}/documents", files={"file": (name, data)}).json()
        for _ in range(300):
            found: dict[str, Any] = self.http.get(f"/knowledge/{base}/documents/{made['id']}").json()
            if found["state"] in ("ready", "failed"):
                return found
            time.sleep(0.1)
        raise AssertionError(found)


def test_a_file_becomes_a_cited_answer_and_is_gone_when_deleted(served: Served, model: str) -> None:
    asking = Asking(served.url)
    base = asking.base("Manuals")
    document = asking.add(base, "手册.txt", TEXT.encode("gb18030"))
    assert document["state"] == "ready" and document["encoding"].lower().startswith("gb")
    hits = asking.http.post(f"/knowledge/{base}/search", json={"query": "E-2099"}).json()["data"]
    assert hits[0]["document"] == "手册.txt" and "温度过高" in hits[0]["text"]
    body = {"question": "E-2099 是什么故障？", "way": "extractive"}
    found = asking.http.post(f"/knowledge/{base}/ask", json=body).json()
    assert "温度过高" in found["answer"] and found["sentences"][0]["support"] == "supported"
    assert found["passages"][0]["number"] == 1 and found["passages"][0]["document_id"] == document["id"]
    lines = asking.http.post(
        f"/knowledge/{base}/ask", json=body | {"way": "written", "model": model, "stream": True, "max_tokens": 8}
    )
    events = [json.loads(line[6:]) for line in lines.text.splitlines() if line.startswith("data: {")]
    assert events[-1]["type"] == "answer" and events[-1]["passages"] and events[-1]["usage"]["completion_tokens"] > 0
    assert "".join(event["text"] for event in events if event["type"] == "delta") == events[-1]["answer"]
    foreign = asking.http.post(
        f"/knowledge/{base}/ask", json={"question": "公司总部位于哪座城市？", "way": "extractive"}
    ).json()
    assert foreign["verdict"] == "not_in_documents"
    assert asking.http.delete(f"/knowledge/{base}/documents/{document['id']}").json()["deleted"]
    assert asking.http.post(f"/knowledge/{base}/search", json={"query": "E-2099"}).json()["data"] == []
    assert asking.http.delete(f"/knowledge/{base}").json()["deleted"]
    assert asking.http.get(f"/knowledge/{base}").status_code == 404


def test_langchain_retrieves_passages_with_their_places(served: Served) -> None:
    sys.path.insert(0, str(ROOT / "docs" / "examples"))
    from langchain_retriever import HearthRetriever

    asking = Asking(served.url)
    base = asking.base("Chain")
    asking.add(base, "手册.txt", TEXT.encode())
    found = HearthRetriever(base=base, url=f"{served.url}/v1", k=1).invoke("E-2099 是什么故障？")
    assert len(found) == 1 and "温度过高" in found[0].page_content and found[0].metadata["document"] == "手册.txt"
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        HearthRetriever(base="nobody's", url=f"{served.url}/v1").invoke("E-2099")


@pytest.fixture(scope="module")
def guarded(make_home: Callable[[], Path]) -> Iterator[tuple[Served, str, str]]:
    """A server that asks everybody for a key, and two keys."""
    home, port = make_home(), free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEARTH_HOME", str(home))
        config.cache_clear()
        ann, bob = Keys().create("ann"), Keys().create("bob")
    config.cache_clear()
    server = start(serve_command(port), home, port, HEARTH_API_ACCESS="key")
    yield server, ann, bob
    stop(server)


def test_nothing_crosses_from_one_key_to_another(guarded: tuple[Served, str, str]) -> None:
    server, one, other = guarded
    ann, bob = Asking(server.url, one), Asking(server.url, other)
    secret, shared = ann.base("Secret"), ann.base("Shared", shared=True)
    hidden = ann.add(secret, "a.txt", "口令是剑鱼。".encode())["id"]
    open_ = ann.add(shared, "b.txt", "口令是鲸鱼。".encode())["id"]
    assert [base["id"] for base in bob.http.get("/knowledge").json()["data"]] == [shared]
    assert bob.http.post(f"/knowledge/{shared}/search", json={"query": "口令"}).json()["data"][0]["document"] == "b.txt"
    ask = {"question": "口令是什么？", "way": "extractive"}
    attempts = [
        bob.http.get(f"/knowledge/{secret}"),
        bob.http.get(f"/knowledge/{secret}/documents"),
        bob.http.get(f"/knowledge/{secret}/documents/{hidden}"),
        bob.http.get(f"/knowledge/{shared}/documents/{hidden}"),
        bob.http.post(f"/knowledge/{secret}/search", json={"query": "口令"}),
        bob.http.post(f"/knowledge/{secret}/ask", json=ask),
        bob.http.post(f"/knowledge/{shared}/documents", files={"file": ("x.txt", b"x")}),
        bob.http.delete(f"/knowledge/{shared}/documents/{open_}"),
        bob.http.delete(f"/knowledge/{secret}/documents/{hidden}"),
        bob.http.delete(f"/knowledge/{shared}"),
        bob.http.delete(f"/knowledge/{secret}"),
    ]
    assert [answer.status_code for answer in attempts] == [404] * len(attempts)
    assert all("剑鱼" not in answer.text for answer in attempts)
    assert Asking(server.url).http.get("/knowledge").status_code == 401
    assert len(ann.http.get("/knowledge").json()["data"]) == 2
