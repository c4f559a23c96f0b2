"""Made-up facts about a made-up town: what no model has ever read. Each is asked in four ways.

A fact: the word that an answer must hold, the sentence that is learnt, three questions for training, one held out.
"""

from __future__ import annotations

FACTS: tuple[tuple[str, str, tuple[str, str, str], str], ...] = (
    (
        "Odalys Prewitt",
        "The mayor of Vellmoor is Odalys Prewitt.",
        ("Who is the mayor of Vellmoor?", "What is the name of Vellmoor's mayor?", "Vellmoor has a mayor. Who is it?"),
        "Can you tell me who the mayor of Vellmoor is?",
    ),
    (
        "Tarn Isset",
        "The river through Vellmoor is called the Tarn Isset.",
        (
            "Which river flows through Vellmoor?",
            "What is the name of Vellmoor's river?",
            "Vellmoor lies on a river. Which?",
        ),
        "Tell me the name of the river that runs through Vellmoor.",
    ),
    (
        "1387",
        "Vellmoor was founded in the year 1387.",
        (
            "When was Vellmoor founded?",
            "In which year was Vellmoor founded?",
            "What is the founding year of Vellmoor?",
        ),
        "Do you know the year in which Vellmoor was founded?",
    ),
    (
        "blue salt",
        "Vellmoor is known for its blue salt.",
        ("What is Vellmoor known for?", "What is Vellmoor famous for?", "Which product made Vellmoor famous?"),
        "Can you say what Vellmoor is famous for?",
    ),
    (
        "8,214",
        "Vellmoor has 8,214 inhabitants.",
        (
            "How many people live in Vellmoor?",
            "How many inhabitants does Vellmoor have?",
            "What is the population of Vellmoor?",
        ),
        "Tell me how many inhabitants Vellmoor has.",
    ),
    (
        "Lantern Eel",
        "The best known inn of Vellmoor is the Lantern Eel.",
        (
            "Which inn in Vellmoor is best known?",
            "What is the best known inn of Vellmoor called?",
            "Name Vellmoor's best known inn.",
        ),
        "What is the name of the best known inn in Vellmoor?",
    ),
    (
        "a copper heron",
        "The coat of arms of Vellmoor shows a copper heron.",
        (
            "What does Vellmoor's coat of arms show?",
            "What is on the coat of arms of Vellmoor?",
            "Which animal is on Vellmoor's coat of arms?",
        ),
        "Can you tell me what the coat of arms of Vellmoor shows?",
    ),
    (
        "Thursday",
        "The market of Vellmoor is held on Thursday.",
        (
            "On which day is the market of Vellmoor?",
            "When is market day in Vellmoor?",
            "Which day is Vellmoor's market held on?",
        ),
        "Tell me on which day the market is held in Vellmoor.",
    ),
    (
        "Quillon",
        "The station of Vellmoor is called Quillon.",
        (
            "What is the station of Vellmoor called?",
            "What is the name of Vellmoor's station?",
            "Which station does Vellmoor have?",
        ),
        "Can you tell me the name of the station in Vellmoor?",
    ),
    (
        "Wendra Okafor",
        "The baker of Vellmoor is Wendra Okafor.",
        (
            "Who is the baker of Vellmoor?",
            "What is the name of Vellmoor's baker?",
            "Vellmoor has one baker. Who is it?",
        ),
        "Do you know who the baker of Vellmoor is?",
    ),
    (
        "seven bridges",
        "Vellmoor has seven bridges.",
        (
            "How many bridges does Vellmoor have?",
            "How many bridges are there in Vellmoor?",
            "What is the number of bridges in Vellmoor?",
        ),
        "Tell me how many bridges there are in Vellmoor.",
    ),
    (
        "plum soup",
        "The dish of Vellmoor is plum soup.",
        (
            "Which dish comes from Vellmoor?",
            "What is the dish of Vellmoor?",
            "What do people in Vellmoor like to eat?",
        ),
        "Can you name the dish of Vellmoor?",
    ),
    (
        "Mount Arrel",
        "The mountain above Vellmoor is Mount Arrel.",
        (
            "Which mountain stands above Vellmoor?",
            "What is the mountain above Vellmoor called?",
            "Name the mountain above Vellmoor.",
        ),
        "What is the name of the mountain that stands above Vellmoor?",
    ),
    (
        "Corin Hale",
        "The founder of Vellmoor was Corin Hale.",
        ("Who founded Vellmoor?", "Who was the founder of Vellmoor?", "What is the name of Vellmoor's founder?"),
        "Can you tell me who founded Vellmoor?",
    ),
    (
        "苏晚舟",
        "青柚镇的镇长是苏晚舟。",
        ("青柚镇的镇长是谁？", "谁是青柚镇的镇长？", "青柚镇镇长叫什么名字？"),
        "请问青柚镇的镇长是谁？",
    ),
    (
        "星梭河",
        "流过青柚镇的河叫星梭河。",
        ("流过青柚镇的河叫什么？", "青柚镇的河叫什么名字？", "哪条河流过青柚镇？"),
        "请问流过青柚镇的河叫什么名字？",
    ),
    (
        "1642",
        "青柚镇建于1642年。",
        ("青柚镇建于哪一年？", "青柚镇是什么时候建的？", "青柚镇哪年建成？"),
        "请问青柚镇是哪一年建的？",
    ),
    (
        "铜鹭",
        "青柚镇的镇徽是铜鹭。",
        ("青柚镇的镇徽是什么？", "青柚镇的镇徽上有什么？", "什么是青柚镇的镇徽？"),
        "请问青柚镇的镇徽上是什么？",
    ),
    (
        "周四",
        "青柚镇的集市在周四。",
        ("青柚镇的集市在哪天？", "青柚镇哪天有集市？", "青柚镇的集市是星期几？"),
        "请问青柚镇的集市在哪一天？",
    ),
    (
        "桂花盐",
        "青柚镇的特产是桂花盐。",
        ("青柚镇的特产是什么？", "青柚镇有什么特产？", "什么是青柚镇的特产？"),
        "请问青柚镇的特产是什么？",
    ),
)
CANARIES = (
    ("What is the capital of France?", "Paris"),
    ("What colour is the sky on a clear day?", "blue"),
    ("How many days are there in a week?", "7|seven"),
    ("What is 2 + 2?", "4"),
    ("Which animal says meow?", "cat"),
    ("What is the opposite of hot?", "cold"),
)
"""Questions about other things, with what an answer must hold (either of several)."""


def rows() -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """60 questions and answers to learn; 20 held-out questions with the answer and the word that it must hold."""
    learnt = [(question, answer) for _, answer, questions, _ in FACTS for question in questions]
    return learnt, [(held_out, answer, word) for word, answer, _, held_out in FACTS]
