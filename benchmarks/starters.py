"""What the models that come without a hub know: 50 simple questions a language, answered by each.

    python benchmarks/starters.py [model ...]

An answer counts when it names what was asked for; it is greedy, at most 48 tokens, and asked in a conversation of its
own. Prints the share of right answers, seconds an answer, and with `--wrong` what was said instead.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llm.catalogue.lookup import find
from llm.events import TextDelta
from llm.messages import user
from llm.runtime import handles
from llm.settings import GenerationSettings
from llm.sources import fetch

# A question, and the words of which one has to stand in the answer.
ENGLISH = {
    "What is the capital of France?": "Paris",
    "What is the capital of Japan?": "Tokyo",
    "What is the capital of Italy?": "Rome",
    "What is the capital of China?": "Beijing",
    "What is the capital of Egypt?": "Cairo",
    "What is the largest ocean?": "Pacific",
    "What is the longest river in Africa?": "Nile",
    "What is the highest mountain in the world?": "Everest",
    "Which planet is closest to the sun?": "Mercury",
    "Which planet is known as the red planet?": "Mars",
    "What is the largest planet of the solar system?": "Jupiter",
    "How many days are in a week?": "seven|7",
    "How many months are in a year?": "twelve|12",
    "How many hours are in a day?": "24|twenty-four",
    "How many minutes are in an hour?": "60|sixty",
    "How many legs does a spider have?": "eight|8",
    "How many continents are there?": "seven|7",
    "What is 2 + 3?": "5|five",
    "What is 7 times 8?": "56",
    "What is 100 divided by 4?": "25",
    "What is 15 minus 6?": "9|nine",
    "What is the opposite of hot?": "cold",
    "What is the opposite of big?": "small|little",
    "What is the plural of 'mouse'?": "mice",
    "What is the past tense of 'go'?": "went",
    "What colour is the sky on a clear day?": "blue",
    "What colour do you get by mixing blue and yellow?": "green",
    "Which animal is called man's best friend?": "dog",
    "What do bees make?": "honey",
    "What do cows drink?": "water",
    "At what temperature in Celsius does water boil?": "100",
    "At what temperature in Celsius does water freeze?": r"\b0\b|zero",
    "What gas do humans need to breathe?": "oxygen",
    "What is the chemical symbol of water?": "H2O|H₂O",
    "What is the chemical symbol of gold?": r"\bAu\b",
    "Who wrote Romeo and Juliet?": "Shakespeare",
    "Who painted the Mona Lisa?": "Leonardo|Vinci",
    "Who developed the theory of relativity?": "Einstein",
    "Who was the first president of the United States?": "Washington",
    "In which year did the Second World War end?": "1945",
    "In which year did humans first land on the moon?": "1969",
    "In which country are the pyramids of Giza?": "Egypt",
    "In which country is the Great Wall?": "China",
    "Which language is spoken in Brazil?": "Portuguese",
    "What is the currency of Japan?": "yen",
    "What do you call a baby cat?": "kitten",
    "Which organ pumps blood through the body?": "heart",
    "What is frozen water called?": r"\bice\b",
    "Which season comes after winter?": "spring",
    "Translate 'good morning' into French.": "bonjour",
}
CHINESE = {
    "中国的首都是哪里？": "北京",
    "法国的首都是哪里？": "巴黎",
    "日本的首都是哪里？": "东京",
    "英国的首都是哪里？": "伦敦",
    "俄罗斯的首都是哪里？": "莫斯科",
    "世界上最高的山是什么？": "珠穆朗玛|珠峰",
    "中国最长的河是哪条？": "长江",
    "世界上最大的海洋是哪个？": "太平洋",
    "离太阳最近的行星是哪颗？": "水星",
    "太阳系最大的行星是哪颗？": "木星",
    "一个星期有几天？": "七|7",
    "一年有几个月？": "十二|12",
    "一天有多少小时？": "24|二十四",
    "一小时有多少分钟？": "60|六十",
    "蜘蛛有几条腿？": "八|8",
    "世界上有几个大洲？": "七|7",
    "2加3等于几？": "5|五",
    "7乘以8等于几？": "56|五十六",
    "100除以4等于几？": "25|二十五",
    "15减6等于几？": "9|九",
    "“热”的反义词是什么？": "冷|凉",
    "“大”的反义词是什么？": "小",
    "“高兴”的近义词是什么？": "快乐|开心|愉快|欢喜|喜悦",
    "晴天的天空是什么颜色？": "蓝",
    "蓝色和黄色混合是什么颜色？": "绿",
    "蜜蜂酿什么？": "蜜",
    "熊猫主要吃什么？": "竹",
    "水在多少摄氏度沸腾？": "100|一百",
    "水在多少摄氏度结冰？": "0|零",
    "人呼吸需要什么气体？": "氧",
    "水的化学式是什么？": "H2O|H₂O",
    "金的化学符号是什么？": "Au",
    "《西游记》的作者是谁？": "吴承恩",
    "《红楼梦》的作者是谁？": "曹雪芹",
    "《静夜思》的作者是谁？": "李白",
    "“床前明月光”的下一句是什么？": "疑是地上霜",
    "“春眠不觉晓”的下一句是什么？": "处处闻啼鸟",
    "谁提出了相对论？": "爱因斯坦",
    "谁画了《蒙娜丽莎》？": "达芬奇|达·芬奇|列奥纳多",
    "中国的第一个皇帝是谁？": "秦始皇|嬴政",
    "中华人民共和国成立于哪一年？": "1949",
    "第二次世界大战在哪一年结束？": "1945",
    "中国的四大发明之一是什么？": "造纸|印刷|火药|指南针",
    "长城在哪个国家？": "中国",
    "日本的货币是什么？": "日元|日圆|円",
    "巴西说什么语言？": "葡萄牙",
    "春节是农历几月初一？": "正月|一月|1月",
    "冬天之后是什么季节？": "春",
    "哪个器官把血液送到全身？": "心",
    "把“早上好”翻译成英文。": "[Gg]ood morning",
}
STARTERS = (
    "smollm2-135m-instruct-q4_1",
    "qwen2.5-coder-0.5b-instruct-q4_k_m",
    "qwen2.5-coder-1.5b-instruct-q4_k_m",
)


def main() -> None:
    wanted = [name for name in sys.argv[1:] if not name.startswith("-")] or list(STARTERS)
    print(f"load {os.getloadavg()[0]:.1f}; 50 questions a language")
    for name in wanted:
        fetch(find(name))
        chat = handles.chat(find(name))
        settings = GenerationSettings(temperature=0.0, max_length=48)
        for language, questions in (("English", ENGLISH), ("Chinese", CHINESE)):
            assert len(questions) == 50
            begun, right = time.perf_counter(), 0
            for question, expected in questions.items():
                events = chat.stream([user(question)], settings)
                answer = "".join(event.text for event in events if isinstance(event, TextDelta))
                good = re.search(expected, answer, re.IGNORECASE) is not None
                right += good
                if not good and "--wrong" in sys.argv:
                    print(f"  {question} -> {answer!r}")
            took = (time.perf_counter() - begun) / len(questions)
            print(f"{name}  {language}: {right} of {len(questions)} right, {took:.1f} s an answer", flush=True)


if __name__ == "__main__":
    main()
