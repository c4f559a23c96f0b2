"""Labels, entities, answers, words for gaps: checkpoints whose answers are known, and transformers' own pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import llm.tasks
from llm.errors import BlankText, CorruptModel, MissingHead, NoMask, NoOffsets, UnknownTask, WrongTask
from llm.runtime import handles
from llm.tasks.text_outputs import TextRun, TokenLabel, entities_of
from tests.conftest import fetched
from tests.tasks import text_models as tiny

PEOPLE = {
    "张": "B-PER",
    "三": "I-PER",
    "北": "B-LOC",
    "京": "I-LOC",
    "在": "O",
    "Jo": "B-PER",
    "##hn": "I-PER",
    "。": "O",
}


@pytest.fixture(autouse=True)
def _freed() -> Iterator[None]:
    yield
    handles.registry().close_all()


def run(task: str, *inputs: Any, **options: Any) -> Any:
    answer = llm.tasks.run(task, *inputs, **options)
    assert isinstance(answer, TextRun)
    return answer


def shown(answer: Any) -> list[tuple[str, str]]:
    output = answer.output
    return [(output.text[one.start : one.end], one.label) for one in output.entities]


# Entities


def test_chinese_entities_are_whole_and_stand_in_the_text(tmp_path: Path) -> None:
    folder = str(tiny.tagger(tmp_path / "ner", PEOPLE))
    assert shown(run("ner", "张三在北京。", model=folder)) == [("张三", "PER"), ("北京", "LOC")]
    pipeline = transformers.pipeline("ner", model=folder, aggregation_strategy="simple", device="cpu")
    assert [one["word"] for one in pipeline("张三在北京。")] == ["张 三", "北 京"]


def test_no_entity_of_a_long_text_is_lost_or_cut_at_a_window(tmp_path: Path) -> None:
    folder = str(tiny.tagger(tmp_path / "ner", PEOPLE))
    answer = run("ner", "张三在北京。" * 200, model=folder)
    assert shown(answer) == [("张三", "PER"), ("北京", "LOC")] * 200
    assert answer.output.entities[-1].end == 1199 and answer.notes[0].code == "windows"


def test_the_first_piece_decides_for_a_word(tmp_path: Path) -> None:
    folder = str(tiny.tagger(tmp_path / "ner", PEOPLE | {"##hn": "B-LOC"}))
    assert shown(run("ner", "John 在 北京", model=folder)) == [("John", "PER"), ("北京", "LOC")]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("B-P B-P", ["张", "三"]),
        ("B-P I-P", ["张三"]),
        ("I-P I-P", ["张三"]),
        ("S-P S-P", ["张", "三"]),
        ("B-P E-P", ["张三"]),
        ("B-P L-P", ["张三"]),
        ("U-P O", ["张"]),
        ("P-B P-I", ["张三"]),
        ("B_P M_P", ["张三"]),
        ("P P", ["张三"]),
        ("P Q", ["张", "三"]),
        ("[PAD] O", []),
        ("E-P I-P", ["张", "三"]),
    ],
)
def test_every_scheme_of_tags(labels: str, expected: list[str]) -> None:
    tokens = [TokenLabel(at, at + 1, label, 0.9) for at, label in enumerate(labels.split())]
    if labels == "E-P I-P":
        tokens[0] = TokenLabel(0, 1, "S-P", 0.9)
    assert ["张三"[one.start : one.end] for one in entities_of("张三", tokens)] == expected


def test_neighbours_of_one_kind_are_joined_on_demand(tmp_path: Path) -> None:
    folder = str(tiny.tagger(tmp_path / "ner", PEOPLE | {"三": "B-PER"}))
    output = run("ner", "张三在北京", model=folder).output
    assert [one.label for one in output.joined(False)] == ["PER", "PER", "LOC"]
    assert [(one.start, one.end) for one in output.joined(True)] == [(0, 2), (3, 5)]


# Classes


def test_long_texts_are_heard_to_their_end(tmp_path: Path) -> None:
    folder = str(tiny.classifier(tmp_path / "c", {"好": "good", "坏": "bad"}))
    answer = run("sentiment-analysis", "好" * 30 + "坏" * 60, model=folder)
    assert answer.output.classes.labels[0] == "bad"
    assert [part.label for part in answer.output.parts] == ["good", "bad", "bad"]
    assert (answer.output.parts[0].start, answer.output.parts[-1].end) == (0, 90)
    short = run("text-classification", "好好", model=folder).output
    assert short.classes.labels[0] == "good" and not short.parts


def test_scores_are_the_pipelines_own(tmp_path: Path) -> None:
    folder = str(tiny.classifier(tmp_path / "c", {"好": "good", "坏": "bad", "平": "so so"}))
    theirs = transformers.pipeline("text-classification", model=folder, top_k=None, device="cpu")(["好坏好"])[0]
    ours = run("text-classification", "好坏好", model=folder).output.classes
    assert list(ours.labels) == [row["label"] for row in theirs]
    assert ours.scores == pytest.approx([row["score"] for row in theirs], abs=1e-5)


def test_independent_labels_and_labels_without_names(tmp_path: Path) -> None:
    words = {"好": "LABEL_0", "坏": "LABEL_1"}
    folder = str(tiny.classifier(tmp_path / "c", words, problem_type="multi_label_classification"))
    classes = run("text-classification", "好坏", model=folder).output.classes
    assert classes.meaning == "sigmoid" and set(classes.labels) == {"class 0", "class 1"}
    assert classes.scores[0] == pytest.approx(classes.scores[1], abs=1e-5) and classes.scores[0] > 0.5


def test_names_that_do_not_fit_the_head_are_not_used(tmp_path: Path) -> None:
    folder = tiny.classifier(tmp_path / "c", {"好": "good", "坏": "bad"})
    config = folder / "config.json"
    text = config.read_text().replace('"1": "bad"', '"1": "bad",\n    "2": "odd"')
    config.write_text(text)
    assert set(run("text-classification", "好", model=str(folder)).output.classes.labels) == {"class 0", "class 1"}


def test_texts_of_mixed_length_in_one_go_are_as_alone(tmp_path: Path) -> None:
    from llm.tasks import text_heads

    folder = str(tiny.classifier(tmp_path / "c", {"好": "good", "坏": "bad"}))
    texts = ["好", "坏坏坏", "好坏好", "好" * 70, "坏", "好坏"]
    alone = [run("text-classification", text, model=folder).output.classes for text in texts]
    with handles.task_model(folder).in_use() as head:
        together = text_heads.classify(head, texts)
    assert [one.classes.labels for one in together] == [one.labels for one in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.classes.scores == pytest.approx(other.scores, abs=1e-6)


# Answers

WORDS = ["张", "三", "在", "北", "京", "工", "作", "。", "哪", "里", "？", "很", "多"]


def test_an_answer_is_found_in_any_window_and_marked_where_it_stands(tmp_path: Path) -> None:
    folder = str(tiny.extractor(tmp_path / "qa", WORDS, "北", "京"))
    context = "很多。" * 60 + "张三在北京工作。" + "很多。" * 60
    output = run("question-answering", "张三在哪里？", context, model=folder).output
    best = output.answers[0]
    assert best.text == "北京" == context[best.start : best.end]
    assert best.score > 0.5 > output.no_answer_score and sum(a.score for a in output.answers) <= 1


def test_no_answer_is_on_the_same_scale(tmp_path: Path) -> None:
    folder = str(tiny.extractor(tmp_path / "qa", WORDS, "北", "京"))
    output = run("question-answering", "张三在哪里？", "张三在工作。", model=folder, may_have_none=True).output
    assert output.no_answer and output.no_answer_score > 0.5
    assert not run("question-answering", "哪里？", "在北京。", model=folder, may_have_none=True).output.no_answer


def test_a_question_longer_than_the_window_is_cut_and_told(tmp_path: Path) -> None:
    folder = str(tiny.extractor(tmp_path / "qa", WORDS, "北", "京"))
    answer = run("question-answering", "很多" * 300, "张三在北京工作。", model=folder)
    assert answer.output.answers[0].text == "北京" and answer.notes[0].code == "question_cut"


# Gaps


def test_gaps_in_every_spelling(tmp_path: Path) -> None:
    folder = fetched("bert-tiny-splade")
    best = [
        run("fill-mask", f"Paris is the {mask} of France.", model=folder).output.words[0][0]
        for mask in ("[MASK]", "<mask>", "____", "【】")
    ]
    assert len({(one.word, round(one.score, 6)) for one in best}) == 1
    assert best[0].sequence == f"Paris is the {best[0].word} of France."
    theirs = transformers.pipeline("fill-mask", model=str(folder), device="cpu")("Paris is the [MASK] of France.")
    ours = run("fill-mask", "Paris is the [MASK] of France.", model=folder).output.words[0]
    assert [one.token for one in ours] == [row["token"] for row in theirs]
    assert [one.score for one in ours] == pytest.approx([row["score"] for row in theirs], abs=1e-5)


def test_several_gaps_see_those_before_them_and_long_texts_are_cut_around_them() -> None:
    folder = fetched("bert-tiny-splade")
    answer = run("fill-mask", "The ___ of France is ___.", model=folder)
    first, second = (words[0] for words in answer.output.words)
    assert second.sequence == f"The {first.word} of France is {second.word}."
    filled = run("fill-mask", f"The {first.word} of France is ___.", model=folder).output.words[0][0]
    assert filled.score == pytest.approx(second.score, abs=1e-6)
    far = run("fill-mask", "word " * 900 + "Paris is the ___ of France." + " word" * 900, model=folder, top_k=1)
    assert far.output.words[0][0].sequence.replace(far.output.words[0][0].word, "").count("word") in (0, 1800)
    assert len(far.output.words[0][0].sequence) > 9000


def test_targets_of_several_pieces_are_scored_and_not_cut() -> None:
    folder = fetched("bert-tiny-splade")
    options = {"model": folder, "targets": ("capital", "embarrassingly")}
    ours = run("fill-mask", "Paris is the [MASK] of France.", **options).output.words[0]
    assert ours[0].word == "capital" and ours[0].token > 0
    assert ours[1].word == "embarrassingly" and ours[1].token == -1 and 0 < ours[1].score < ours[0].score
    with pytest.raises(NoMask, match=r"\[MASK\]"):
        run("fill-mask", "Paris is the capital.", model=folder)


# What is refused


def test_a_head_that_is_missing_is_named(tmp_path: Path) -> None:
    config = tiny.bert_config(WORDS, 32)
    folder = tiny.save(tmp_path / "bare", transformers.BertModel(config), WORDS)
    text = (folder / "config.json").read_text().replace('"BertModel"', '"BertForQuestionAnswering"')
    (folder / "config.json").write_text(text)
    with pytest.raises(MissingHead, match=r"qa_outputs\.weight"):
        run("question-answering", "哪里？", "在北京。", model=str(folder))


def test_blank_texts_unknown_tasks_and_other_heads_are_refused(tmp_path: Path) -> None:
    folder = str(tiny.tagger(tmp_path / "ner", PEOPLE))
    for blank in ("", "  ", "\n"):
        with pytest.raises(BlankText):
            run("ner", blank, model=folder)
    with pytest.raises(WrongTask):
        run("sentiment-analysis", "好", model=folder)
    with pytest.raises(UnknownTask):
        run("mind-reading", "好", model=folder)


def test_a_folder_without_a_tokenizer_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    folder = tiny.tagger(tmp_path / "ner", PEOPLE)
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises((CorruptModel, NoOffsets), match="tokenizer"):
        run("ner", "张三", model=str(folder))


def test_memory_does_not_grow_with_calls(tmp_path: Path) -> None:
    import psutil

    folder = str(tiny.tagger(tmp_path / "ner", PEOPLE))
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 60, (80,), generator=generator).tolist()
    for length in lengths[:20]:
        run("ner", "张三" * length, model=folder)
    before = psutil.Process().memory_info().rss
    for length in lengths:
        run("ner", "张三" * length, model=folder)
    assert psutil.Process().memory_info().rss - before < 30 << 20
