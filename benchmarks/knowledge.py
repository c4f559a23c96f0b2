"""How well and how fast documents are found: python -m benchmarks.knowledge xquad.zh xquad.en cmrc codes scale

Questions and paragraphs lie in ../shared/data/retrieval (SQuAD's layout). Each paragraph becomes a page of a PDF, is
read and cut as any document, and a passage is right if it comes from the paragraph that the question hangs on. With
`words` behind the names the embedder is left out, else every third question is asked; `scale100k` is ten times `scale`.
"""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm.config import config
from llm.documents.chunks import Chunk, chunks
from llm.documents.document import Block, Document, Page
from llm.documents.reading import read_document
from llm.jobs import jobs
from llm.knowledge import reading, vectors
from llm.knowledge.library import Library
from llm.knowledge.search import Found, search
from llm.knowledge.words import estimated_tokens
from tests.conftest import fetched
from tests.documents.pdf_maker import Sheet, pdf

DATA = Path(__file__).parents[2] / "shared" / "data" / "retrieval"
EMBEDDER = "multilingual-e5-small-q4_0"
FILES = {"xquad.zh": "xquad.zh.json", "xquad.en": "xquad.en.json", "cmrc": "cmrc2018_dev_half.json"}
Ranking = list[int]
"""The paragraphs of the passages that were found, the best first."""


@dataclass(frozen=True)
class Set:
    """Paragraphs, and questions as (text, paragraph)."""

    paragraphs: list[str]
    questions: list[tuple[str, int]]


def read_set(name: str, nth: int = 1) -> Set:
    """A set with every nth of its questions."""
    path = DATA / FILES[name]
    paragraphs: list[str] = []
    questions: list[tuple[str, int]] = []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            questions += [(one["question"], len(paragraphs)) for one in paragraph["qas"]]
            paragraphs.append(paragraph["context"])
    return Set(paragraphs, questions[::nth])


def pages_of(paragraphs: Sequence[str], folder: Path) -> list[Page]:
    """The paragraphs as they are read back from the pages of a PDF."""
    sheets = []
    for text in paragraphs:
        wide = sum(ord(character) > 0x2E80 for character in text) > len(text) / 3
        lines = textwrap.wrap(text, 40 if wide else 80, break_long_words=True)
        sheets.append(Sheet([(50.0, 40.0 + 15 * at, 11.0, line) for at, line in enumerate(lines)]))
    path = folder / "paragraphs.pdf"
    path.write_bytes(pdf(sheets))
    return list(read_document(path, path.name).pages)


def fill(library: Library, name: str, pages: Iterable[tuple[int, Page]], embedder: str) -> str:
    """A base with one document for each page, named by its paragraph's number; its id once all is indexed."""
    base = library.create_base(name, embedder=embedder)
    for number, page in pages:
        document = library.add(base.id, str(number), f"{name} {number}".encode())
        read = Document(document.name, "pdf", (page,), "", ())
        library.keep_read(document.id, read, chunks(read, estimated_tokens, base.size, base.size // 10))
    if embedder:
        ended = jobs().wait(reading.start(library, base.id).id, 3600)
        assert ended is not None and ended.state == "done", ended
    return base.id


def found_in(found: Found) -> Ranking:
    return [int(hit.passage.document) for hit in found.hits]


def row(name: str, asked: Sequence[tuple[str, int]], ask: Callable[[str], Ranking]) -> None:
    """Prints a table row: recall at 1, 5 and 10, and the mean reciprocal rank within ten."""
    ranks = []
    for question, gold in asked:
        ranking = list(dict.fromkeys(ask(question)))[:10]
        ranks.append(ranking.index(gold) + 1 if gold in ranking else 0)
    shares = [sum(0 < rank <= most for rank in ranks) / len(ranks) for most in (1, 5, 10)]
    mean = sum(1 / rank for rank in ranks if rank) / len(ranks)
    print(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} | {mean:.3f} |", flush=True)


def built_in(pages: Sequence[Page], tokenizer: str) -> Callable[[str], Ranking]:
    """FTS5 with a tokenizer of its own, as a peer."""
    index = sqlite3.connect(":memory:")
    index.execute(f"CREATE VIRTUAL TABLE held USING fts5(text, tokenize='{tokenizer}')")
    for number, page in enumerate(pages):
        text = "".join(block.text for block in page.blocks)
        index.execute("INSERT INTO held (rowid, text) VALUES (?, ?)", (number, text))

    def ask(question: str) -> Ranking:
        text = question.replace('"', " ")
        grams = [text[at : at + 3] for at in range(len(text) - 2)] if tokenizer == "trigram" else text.split()
        asked = " OR ".join(f'"{gram}"' for gram in grams)
        sql = "SELECT rowid FROM held WHERE held MATCH ? ORDER BY bm25(held) LIMIT 10"
        return [found for (found,) in index.execute(sql, (asked,))]

    return ask


def by_meaning(library: Library, base_id: str) -> Callable[[str], Ranking]:
    """Vectors alone."""
    matrix = vectors.matrix(library, base_id)
    assert matrix is not None
    numbers = {one.id: int(one.document) for one in library.passages(matrix.ids.tolist()).values()}

    def ask(question: str) -> Ranking:
        near = matrix.vectors @ vectors.embedded_question(EMBEDDER, question)
        return [numbers[int(matrix.ids[at])] for at in np.argsort(-near)[:30]]

    return ask


def auroc(held: Sequence[float], left_out: Sequence[float]) -> float:
    """The chance that a question which can be answered scores higher than one that cannot."""
    above = np.subtract.outer(np.asarray(held), np.asarray(left_out))
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def evidence(found: Found) -> float:
    """What `llm.knowledge.answers.has_evidence` looks at."""
    return found.coverage + 0.2 * max((hit.above or 0.0 for hit in found.hits), default=0.0)


def retrieval(name: str, library: Library, folder: Path, embedder: str) -> None:
    data = read_set(name, 3 if embedder else 1)
    pages = pages_of(data.paragraphs, folder)
    began = time.perf_counter()
    words = fill(library, f"{name} words", enumerate(pages), "")
    took = time.perf_counter() - began
    print(
        f"\n{name}: {len(pages)} paragraphs, {len(data.questions)} questions; to words {len(pages) / took:.0f} pages/s"
    )
    print("| | R@1 | R@5 | R@10 | MRR@10 |\n| --- | --- | --- | --- | --- |")
    row("FTS5 unicode61", data.questions, built_in(pages, "unicode61"))
    row("FTS5 trigram", data.questions, built_in(pages, "trigram"))
    row("words", data.questions, lambda one: found_in(search(library, words, one)))
    both = ""
    if embedder:
        began = time.perf_counter()
        both = fill(library, f"{name} both", enumerate(pages), embedder)
        made = time.perf_counter() - began
        row("meaning", data.questions, by_meaning(library, both))
        row("both", data.questions, lambda one: found_in(search(library, both, one)))
        if name == "xquad.zh":
            english = read_set("xquad.en", 3).questions
            row("English questions, words", english, lambda one: found_in(search(library, words, one)))
            row("English questions, meaning", english, by_meaning(library, both))
            row("English questions, both", english, lambda one: found_in(search(library, both, one)))
        print(f"vectors: {made:.0f} s")
    # A fifth of the paragraphs is left out: their questions must look unanswerable. Vectors are there already.
    most = fill(library, f"{name} most", ((at, page) for at, page in enumerate(pages) if at % 5 != 4), embedder)
    scores: tuple[list[float], list[float]] = ([], [])
    for question, gold in data.questions:
        scores[gold % 5 == 4].append(evidence(search(library, most, question)))
    print(f"left out: AUROC {auroc(*scores):.3f}", flush=True)


def codes(library: Library) -> None:
    """Twenty records that differ in one code."""
    text = "故障代码 AB-{} 表示部件需要检修，请联系售后服务中心处理。"
    pages = [(number, Page(1, "1", (Block(text.format(number)),))) for number in range(2080, 2100)]
    base = fill(library, "codes", pages, "")
    right = sum(found_in(search(library, base, f"故障 {number} 怎么办？"))[0] == number for number, _ in pages)
    print(f"\nfault codes found first: {right} of {len(pages)}", flush=True)


def scale(library: Library, embedder: str, count: int) -> None:
    """Questions to many passages: every paragraph again and again, each copy with a number of its own."""
    data = read_set("cmrc")
    base = library.create_base(f"{count} passages", embedder=embedder)
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    for start in range(0, count, 1000):
        document = library.add(base.id, str(start), f"{count} {start}".encode())
        made = []
        for at in range(start, min(start + 1000, count)):
            cut = f"第{at}号。{data.paragraphs[at % len(data.paragraphs)][(at % 7) * 40 :][:330]}"
            made.append(Chunk(cut, "", 1, "1", None, (), (), "text", at - start, 300))
        library.keep_read(document.id, Document(document.name, "text", (), "", ()), made)
    worded = time.perf_counter() - began
    if embedder:
        for start in range(0, len(missing := library.without_vector(base.id, embedder)), 1000):
            part = missing[start : start + 1000]
            values = rng.standard_normal((len(part), 384))
            values /= np.linalg.norm(values, axis=1, keepdims=True)
            rows = values.astype(np.float16)
            library.keep_vectors(embedder, [(key, one.tobytes()) for (key, _), one in zip(part, rows, strict=True)])
        library.mark_indexed(base.id, embedder)
    began = time.perf_counter()
    search(library, base.id, data.questions[0][0])
    first = time.perf_counter() - began
    seconds = []
    for question, _ in data.questions[1:201]:
        began = time.perf_counter()
        search(library, base.id, question)
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    middle, slow = np.median(seconds) * 1e3, np.percentile(seconds, 95) * 1e3
    print(
        f"\n{count:,} passages: {count / worded:.0f} passages/s to words; question median {middle:.0f} ms, "
        f"p95 {slow:.0f} ms, the first {first:.1f} s; peak {peak:.0f} MiB",
        flush=True,
    )


def main(wanted: Sequence[str]) -> None:
    embedder = "" if "words" in wanted else EMBEDDER
    file = fetched(EMBEDDER) if embedder else None
    with tempfile.TemporaryDirectory() as name:
        os.environ["HEARTH_HOME"] = name
        config.cache_clear()
        if file is not None:
            (Path(name) / "models" / EMBEDDER).mkdir(parents=True)
            (Path(name) / "models" / EMBEDDER / file.name).symlink_to(file)
        library = Library("benchmark")
        for part in wanted:
            if part in FILES:
                retrieval(part, library, Path(name), embedder)
            elif part == "codes":
                codes(library)
            elif part == "scale":
                scale(library, embedder, 10_000)
            elif part == "scale100k":
                scale(library, embedder, 100_000)


if __name__ == "__main__":
    main(sys.argv[1:] or ["xquad.zh", "xquad.en", "cmrc", "codes", "scale"])
