"""Hearth's handle in a plain script. Reads jobs as JSON lines, prints `RESULT` and their outcome.

`{"do": "prompt", "words"}` gives token ids; `answer` the second of each token; `together` several people at
once; `turns` the first-token times along a conversation; `conversation` makes one for the page and gives its id.
"""

import json
import sys
import threading
import time
from typing import Any

import llm
from llm.events import TextDelta
from llm.messages import assistant, system, user
from llm.settings import GenerationSettings
from llm.store import store

TOPICS = ("rivers", "bread", "clocks", "bridges", "violins", "maps", "winter", "glass")


class Jobs:
    """One method a job; each returns what can be written as JSON."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.handle = llm.load(model)
        self._conversations = 0

    def prompt(self, words: str) -> list[int]:
        return list(self.handle.prompt([user(words)]).ids)

    def answer(self, words: str, tokens: int) -> dict[str, Any]:
        times, _ = self._stream([user(words)], tokens)
        return {"times": times}

    def together(self, people: int, tokens: int) -> dict[str, Any]:
        """Tokens a second in total from the first question to the last word, and the longest first wait."""
        results: list[list[float]] = [[] for _ in range(people)]

        def one(number: int) -> None:
            question = user(f"Write a long essay about {TOPICS[number % len(TOPICS)]}.")
            results[number], _ = self._stream([question], tokens)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(people)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        total = sum(map(len, results)) / max(times[-1] for times in results)
        return {"tokens_per_s": total, "worst_first_s": max(times[0] for times in results)}

    def turns(self, count: int, tokens: int) -> dict[str, Any]:
        """Seconds to the first token of each turn of a conversation that was never held before."""
        self._conversations += 1
        conversation, firsts = [system(f"You help visitor {self._conversations}.")], []
        for number in range(count):
            conversation.append(user(f"Tell me something about {TOPICS[number % len(TOPICS)]}, please."))
            times, text = self._stream(conversation, tokens)
            firsts.append(times[0])
            conversation.append(assistant(text))
        return {"first_s": firsts}

    def conversation(self, tokens: int) -> str:
        made = store().create_conversation(model=self.model, settings={"temperature": 0.0, "max_length": tokens})
        return made.id

    def _stream(self, messages: list, tokens: int) -> tuple[list[float], str]:
        started, times, text = time.perf_counter(), [], []
        settings = GenerationSettings(max_length=tokens, temperature=0.0)
        for event in self.handle.stream(messages, settings):
            if isinstance(event, TextDelta):
                times.append(time.perf_counter() - started)
                text.append(event.text)
        return times, "".join(text)


def main(model: str) -> None:
    jobs = Jobs(model)
    for line in sys.stdin:
        job = json.loads(line)
        outcome = getattr(jobs, job.pop("do"))(**job)
        print("RESULT", json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
