"""How well chat models stand in for trained classifiers, and how fast labels are beside transformers' own pipeline.

    python benchmarks/tasks.py [chat model ...]

Prints accuracy on 24 short sentences in each language (below; easy and tricky ones, half of them positive), seconds a
text, and texts a second of a tiny random classifier beside `pipeline()` over the same 1,000 rows.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import transformers

import llm.tasks
from llm.runtime import handles
from llm.tasks import text_heads
from tests.tasks import text_models

ENGLISH = {
    "positive": [
        "I loved every minute of this film.",
        "Best coffee in town.",
        "The staff were kind and quick.",
        "Works perfectly.",
        "Not bad at all, though I had feared the worst.",
        "I would buy it again.",
        "My kids can't stop playing with it.",
        "A quiet, clean room with a great view.",
        "It exceeded my expectations.",
        "Finally a phone that lasts two days.",
        "What a delightful surprise.",
        "The update fixed all my problems.",
    ],
    "negative": [
        "What a boring waste of time.",
        "The battery died after two days.",
        "Never again.",
        "The soup was cold and salty.",
        "I expected much more for this price.",
        "They never answered my letters.",
        "It broke on the first day.",
        "The plot makes no sense.",
        "I wish I had kept my old one.",
        "Hardly worth the money.",
        "The seats hurt my back.",
        "Good idea, terrible execution.",
    ],
}
CHINESE = {
    "正面": [
        "这家店的服务非常好，下次还来。",
        "这部电影不难看。",
        "物流很快，包装完好。",
        "孩子特别喜欢。",
        "性价比很高，值得买。",
        "房间干净，风景很美。",
        "比我想象的好多了。",
        "用了半年，一点问题都没有。",
        "老板很热情，菜也好吃。",
        "终于买到合适的了。",
        "讲得很清楚，收获很大。",
        "电池可以用两天。",
    ],
    "负面": [
        "用了两天就坏了，太失望了。",
        "客服一直不回消息。",
        "菜又冷又咸。",
        "质量太差，不推荐。",
        "这个价格不值。",
        "等了一个小时还没上菜。",
        "剧情莫名其妙，浪费时间。",
        "早知道就不买了。",
        "颜色和图片完全不一样。",
        "声音很大，晚上睡不着。",
        "想法不错，做得太糟。",
        "屏幕一碰就碎。",
    ],
}


def accuracy(model: str, rows: dict[str, list[str]]) -> tuple[float, float]:
    """The share of right labels, and seconds a text."""
    begun = time.perf_counter()
    right = [
        llm.tasks.run("sentiment-analysis", text, model=model).output.classes.labels[0] == label  # type: ignore[union-attr]
        for label, texts in rows.items()
        for text in texts
    ]
    return sum(right) / len(right), (time.perf_counter() - begun) / len(right)


def throughput(folder: Path, texts: list[str]) -> tuple[float, float]:
    """Texts a second of Hearth and of the pipeline, one after the other, both warm."""
    pipeline = transformers.pipeline("text-classification", model=str(folder), top_k=None, device="cpu")
    with handles.task_model(folder).in_use() as head:
        text_heads.classify(head, texts[:20])
        begun = time.perf_counter()
        text_heads.classify(head, texts)
        ours = len(texts) / (time.perf_counter() - begun)
    pipeline(texts[:20])
    begun = time.perf_counter()
    pipeline(texts)
    return ours, len(texts) / (time.perf_counter() - begun)


def main() -> None:
    for model in sys.argv[1:] or ["smollm2-135m-instruct-q4_1"]:
        for language, rows in (("en", ENGLISH), ("zh", CHINESE)):
            share, seconds = accuracy(model, rows)
            print(f"{model} {language}: {share:.0%} of 24 right, {seconds:.2f} s a text")
    with tempfile.TemporaryDirectory() as place:
        folder = text_models.classifier(Path(place), {"好": "good", "坏": "bad"}, positions=512)
        for name, texts in (
            ("short", ["好坏好好"] * 1000),
            ("mixed", ["好坏" * (1 + at * 7 % 120) for at in range(1000)]),
        ):
            ours, theirs = throughput(folder, texts)
            print(f"1,000 {name} rows: {ours:.0f} texts/s, pipeline {theirs:.0f}, {ours / theirs:.2f} times")


if __name__ == "__main__":
    main()
