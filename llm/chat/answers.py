"""Answers being written: threads of the server, which pages watch.

An answer belongs to its conversation, not to the page that asked for it. So a reload, another page or a
moved slider does not end it, and what was written is kept about once a second, whatever happens.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import find, where
from llm.errors import Cancelled, DownloadFailed, ModelError
from llm.events import Event, Finished, Noted, Progress, PromptReady, TextDelta, ThinkingDelta, Token
from llm.messages import Message, Part, TextPart, ThinkingPart, system
from llm.plan import LoadPlan
from llm.prompt import Prompt
from llm.runtime import handles
from llm.runtime.protocols import ChatModel
from llm.settings import GenerationSettings
from llm.sources import downloads
from llm.store import LATEST, Meta, Store, Trace

log = logging.getLogger(__name__)

SAVE_EVERY_S = 1.0
WATCH_EVERY_S = 0.25


Write: TypeAlias = Callable[[ChatModel, list[Message], GenerationSettings, Cancel], Generator[Event, None, None]]
"""Makes the events of an answer to a conversation, whose last message is the question."""


@dataclass(frozen=True, slots=True)
class Request:
    """What an answer is to be written with. `model` is a catalogue id or a local path.

    write: how its events are made; None asks the model with the conversation as it stands.
    """

    model: str | Path
    settings: GenerationSettings
    plan: LoadPlan | None = None
    write: Write | None = None


class Answer:
    """One answer on its way. `id` is the message's; `error` is set when it ended in one."""

    def __init__(self, kept: Store, conversation_id: str, parent_id: int, request: Request) -> None:
        meta = Meta(status="writing", model=str(request.model))
        self.id = kept.begin_answer(conversation_id, parent_id, meta)
        self.conversation_id = conversation_id
        self.error: ModelError | None = None
        self.kept, self.request, self._parent_id, self._meta = kept, request, parent_id, meta
        self._cancel = Cancel()
        self._news = threading.Condition()
        self._events: list[Event] = []
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._tokens: list[Token] = []
        self._noted: dict[str, Any] = {}
        self._prompt: Prompt | None = None
        self._finished: Finished | None = None
        self._over = False

    @property
    def over(self) -> bool:
        return self._over

    def stop(self) -> None:
        """Ends it within one token; what was written stays."""
        self._cancel.set()

    def watch(self) -> Iterator[list[Event]]:
        """All events from the first on, in batches as they come, and an empty batch as a heartbeat.

        Any number of pages may watch. To leave is harmless.
        """
        seen = 0
        while True:
            with self._news:
                if seen == len(self._events) and not self._over:
                    self._news.wait(WATCH_EVERY_S)
                batch, over = self._events[seen:], self._over
            seen += len(batch)
            yield batch
            if over and not batch:
                return

    def run(self) -> None:
        """The thread's work: writes the answer to its end and keeps it."""
        try:
            self._write()
        except ModelError as error:
            self.error = None if isinstance(error, Cancelled) else error
        except Exception as error:
            log.exception("answer %s failed", self.id)
            self.error = ModelError(detail=f"{type(error).__name__}: {error}")
        try:
            self.kept.finish_answer(self.id, self._parts(), self._final_meta(), self._trace())
        except Exception:
            # The disk is full or the database away: what the last save kept stays, and the page goes on.
            log.exception("answer %s could not be kept", self.id)
        finally:
            with self._news:
                self._over = True
                self._news.notify_all()

    def _write(self) -> None:
        model = self._model()
        saved_at = time.monotonic()
        messages, settings = self._messages(), self.request.settings
        write = self.request.write
        asked = model.stream if write is None else partial(write, model)
        with closing(asked(messages, settings, self._cancel)) as events:
            for event in events:
                self._take(event)
                if time.monotonic() - saved_at >= SAVE_EVERY_S:
                    self.kept.save_partial(self.id, self._parts())
                    saved_at = time.monotonic()

    def _messages(self) -> list[Message]:
        conversation = self.kept.conversation(self.conversation_id)
        path = [stored.message for stored in self.kept.path(self.conversation_id, self._parent_id)]
        said = [message for message in path if message.parts]
        return [system(conversation.system_prompt), *said] if conversation.system_prompt.strip() else said

    def _model(self) -> ChatModel:
        """The handle, after waiting for its download where one is under way, and for its loading."""
        entry = find(self.request.model)
        if where(entry) is None:
            self._await_download(entry)
        return handles.chat(entry, self.request.plan, lambda stage, done, total: self._take(Progress("load")))

    def _await_download(self, entry: ModelEntry) -> None:
        while True:
            job = downloads.get(entry.id)
            if job is None or not job.active:
                if job is not None and job.state == "failed" and where(entry) is None:
                    raise DownloadFailed(name=entry.name, source=job.params["source"] or "", detail=job.error_text)
                return
            self._take(Progress("download", int(job.done), int(job.total)))
            if self._cancel.wait(WATCH_EVERY_S):
                raise Cancelled(what=entry.name)

    def _take(self, event: Event) -> None:
        match event:
            case PromptReady(prompt=prompt):
                self._prompt = prompt
            case TextDelta(text=text, tokens=tokens):
                self._text.append(text)
                self._tokens.extend(tokens)
            case ThinkingDelta(text=text, tokens=tokens):
                self._thinking.append(text)
                self._tokens.extend(tokens)
            case Noted(values=values):
                self._noted.update(values)
            case Finished():
                self._finished = event
        with self._news:
            self._events.append(event)
            # Watchers look by themselves a few times a second: to wake them for each token costs the
            # model more than a late letter costs the reader. The first they are told of.
            if len(self._text) + len(self._thinking) <= 1 or isinstance(event, Finished):
                self._news.notify_all()

    def _parts(self) -> list[Part]:
        thinking, text = "".join(self._thinking), "".join(self._text)
        parts: list[Part] = [ThinkingPart(thinking)] if thinking else []
        return [*parts, TextPart(text)] if text else parts

    def _final_meta(self) -> Meta:
        meta = replace(
            self._meta,
            status="complete",
            dropped_messages=self._prompt.dropped_messages if self._prompt else 0,
            extra=dict(self._noted),
        )
        if self._finished is not None:
            meta = replace(
                meta, reason=self._finished.reason, usage=self._finished.usage, timings=self._finished.timings
            )
        if self.error is not None:
            values = {name: value for name, value in self.error.values.items() if isinstance(value, (str, int, float))}
            return replace(meta, status="stopped", error=self.error.code, extra={**meta.extra, "error_values": values})
        return replace(meta, status="stopped") if self._cancel.is_set() else meta

    def _trace(self) -> Trace | None:
        return Trace(self._prompt, tuple(self._tokens)) if self._prompt else None


class Answers:
    """The answers that this process is writing, by conversation."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._running: dict[str, Answer] = {}
        self._requests: dict[int, Request] = {}

    def begin(self, kept: Store, conversation_id: str, parent_id: int, request: Request) -> Answer:
        """Begins an answer to the message `parent_id`; one that the conversation is still writing is stopped."""
        earlier = self.of(conversation_id)
        if earlier is not None:
            earlier.stop()
        answer = Answer(kept, conversation_id, parent_id, request)
        with self._lock:
            self._start(answer)
        return answer

    def ask(
        self,
        kept: Store,
        conversation_id: str,
        message: Message | None,
        request: Request,
        parent_id: int | None = LATEST,
    ) -> None:
        """Adds a question and begins its answer; behind an answer that is being written it waits for its turn.

        Without a message the question `parent_id` is answered once more.
        """
        waiting = kept.wait(conversation_id, message, parent_id)
        with self._lock:
            self._requests[waiting] = request
        self.go_on(kept, conversation_id, request)

    def go_on(self, kept: Store, conversation_id: str, request: Request) -> None:
        """Begins the next question that waits, unless an answer is being written.

        request: for a question of which this process does not know how it was to be asked.
        """
        with self._lock:
            if conversation_id not in self._running:
                self._begin_next(kept, conversation_id, request)

    def of(self, conversation_id: str) -> Answer | None:
        """The answer that a conversation is writing now."""
        with self._lock:
            return self._running.get(conversation_id)

    def _run(self, answer: Answer) -> None:
        try:
            answer.run()
        finally:
            with self._lock:  # whoever looks sees this answer or the next one, never neither
                if self._running.get(answer.conversation_id) is answer:
                    del self._running[answer.conversation_id]
                    self._begin_next(answer.kept, answer.conversation_id, answer.request)

    def _start(self, answer: Answer) -> None:
        self._running[answer.conversation_id] = answer
        threading.Thread(target=self._run, args=(answer,), name=f"answer {answer.id}", daemon=True).start()

    def _begin_next(self, kept: Store, conversation_id: str, request: Request) -> None:
        try:
            found = kept.next_question(conversation_id)
            if found is not None:
                waiting, message_id = found
                self._start(Answer(kept, conversation_id, message_id, self._requests.pop(waiting, request)))
        except ModelError as error:  # the conversation was purged meanwhile
            log.info("no further question in %s: %s", conversation_id, error)


@cache
def answers() -> Answers:
    """The one `Answers` of this process."""
    return Answers()
