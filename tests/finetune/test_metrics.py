"""Scores against the packages that the published figures were reckoned with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jieba
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from rouge_chinese import Rouge

from llm.config import config
from llm.finetune.metrics import Scores, _jieba, bleu4, interval, mean, score, words

PAIRS = [
    ("这款连衣裙采用了经典的圆领设计，不挑脸型，穿着舒适。", "连衣裙经典的圆领设计，修饰脸型，穿着更加舒适自在。"),
    ("晴川镇的图书馆周一闭馆。", "晴川镇的图书馆每周一都不开门。"),
    ("第一，先洗手。\n\n第二，再吃饭！\n好吗？", "先洗手。\n再吃饭。\n\n好的......然后呢？"),
    ("The library of Fairbrook is closed on Mondays.", "It is closed on Mondays, the library of Fairbrook."),
    ("好", "好"),
    ("是的", "不"),
    ("a a a a b", "a a a c a a"),
]
texts = st.text(alphabet="天气很好图书馆不开门。？！\n，ab 1.", min_size=1, max_size=40).filter(
    lambda text: text.strip()
)


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A data folder of this file's own: properties take no fixture of a single test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEARTH_HOME", str(tmp_path_factory.mktemp("home")))
        config.cache_clear()
        yield
    config.cache_clear()


def published_bleu(reference: list[str], answer: list[str]) -> float:
    return 100 * float(sentence_bleu([reference], answer, smoothing_function=SmoothingFunction().method3))


def published_rouge(reference: str, answer: str) -> list[float]:
    (found,) = Rouge().get_scores(" ".join(jieba.cut(answer)), " ".join(jieba.cut(reference)))
    return [100 * found[name]["f"] for name in ("rouge-1", "rouge-2", "rouge-l")]


def agrees(reference: str, answer: str) -> None:
    reference, answer = reference.strip(), answer.strip()
    found = score(reference, answer)
    assert found.bleu4 == pytest.approx(published_bleu(list(reference), list(answer)))
    assert found.bleu4_words == pytest.approx(published_bleu(list(jieba.cut(reference)), list(jieba.cut(answer))))
    assert [found.rouge1, found.rouge2, found.rouge_l] == pytest.approx(published_rouge(reference, answer))


@pytest.mark.parametrize(("reference", "answer"), PAIRS)
def test_scores_are_those_of_the_published_scripts(reference: str, answer: str) -> None:
    agrees(reference, answer)


@given(texts, texts)
@settings(max_examples=150, deadline=None)
def test_scores_of_any_text_are_those_of_the_published_scripts(reference: str, answer: str) -> None:
    agrees(reference, answer)


def test_an_independent_judge_agrees_where_no_smoothing_is_needed() -> None:
    for reference, answer in PAIRS[:1]:
        other = sacrebleu.sentence_bleu(answer, [reference], tokenize="char", smooth_method="none")
        assert bleu4(reference, answer) == pytest.approx(other.score)


def test_empty_answers_score_nothing_and_the_same_answer_everything() -> None:
    assert score("答案", "") == score("答案", " \n") == score("", "x") == Scores()
    same = score("图书馆周一闭馆，周二开门。", "图书馆周一闭馆，周二开门。\n")
    assert same.to_dict() == pytest.approx(dict.fromkeys(same.to_dict(), 100.0))
    assert mean([same, Scores()]).exact == 50
    assert mean([]) == Scores()


def test_an_interval_is_wider_with_fewer_rows() -> None:
    few, many = interval([0.0, 10.0, 20.0]), interval([0.0, 10.0, 20.0] * 30)
    assert few[0] < many[0] < 10 < many[1] < few[1]
    assert interval([]) == (0.0, 0.0)


def test_words_are_cut_with_a_table_in_our_own_folder(data_folder: Path) -> None:
    _jieba.cache_clear()
    assert "图书馆" in words("晴川镇图书馆")
    assert (data_folder / "finetune" / "jieba.cache").is_file()
