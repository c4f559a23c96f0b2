"""A killed process, two processes that start at once, and writers that went silent."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from llm.messages import TextPart, user
from llm.store import Meta, store
from llm.store.core import housekeeping
from llm.store.database import messages, utc_now
from llm.store.writers import SILENCE, is_gone, this_writer

ROOT = Path(__file__).parents[2]

WRITE = """
import sys, time
from llm.messages import TextPart, user
from llm.store import store
kept = store()
made = kept.create_conversation()
kept.add(made.id, user("tell me a story"))
answer = kept.begin_answer(made.id)
text = ""
for n in range(10**6):
    text += f"word{n} "
    kept.save_partial(answer, [TextPart(text)])
    print(made.id, text.count(" "), flush=True)
    time.sleep(0.01)
"""


def start(code: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ)


def test_a_killed_process_leaves_what_was_saved_last(home):
    process = start(WRITE)
    lines = [process.stdout.readline() for _ in range(20)]
    kept = store()  # opened while the other lives: its answer is still being written
    conversation_id = lines[0].split()[0]
    assert kept.path(conversation_id)[-1].meta.status == "writing"
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.readlines()
    process.wait()
    saved_words = int(lines[-1].split()[1])
    answer = kept.path(conversation_id)[-1]
    assert answer.meta.status == "interrupted"
    assert len(answer.message.text.split()) in (saved_words, saved_words + 1)
    housekeeping(kept.db)  # what the next start does
    assert [c.id for c in kept.list("word19").items] == [conversation_id]
    assert kept.path(conversation_id)[-1].meta.status == "interrupted"


def test_processes_that_start_at_once_make_one_database(home):
    code = "from llm.store import store; print(store().create_conversation('x').id)"
    processes = [start(code) for _ in range(4)]
    ids = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert {c.id for c in store().list().items} == set(ids)


def test_a_silent_writer_counts_as_gone_and_may_come_back(kept):
    made = kept.create_conversation()
    answer = kept.begin_answer(made.id)
    with kept.db.write() as connection:
        connection.execute(sa.update(messages).values(updated_at=utc_now() - SILENCE - timedelta(seconds=1)))
    assert kept.path(made.id)[-1].meta.status == "interrupted"
    housekeeping(kept.db)
    assert kept.save_partial(answer, [TextPart("still here")])
    assert kept.path(made.id)[-1].meta.status == "writing"
    kept.finish_answer(answer, [TextPart("done")], Meta())
    assert kept.path(made.id)[-1].meta.status == "complete"


def test_who_is_gone():
    now = utc_now()
    me = this_writer()
    assert not is_gone(me, now, now)
    assert is_gone(me, now - SILENCE * 2, now)
    machine, pid, began = me.split("/")
    assert is_gone(f"{machine}/{pid}/{float(began) - 1000}", now, now), "the process id came round again"
    assert is_gone(f"{machine}/4194303999/1.0", now, now)
    assert not is_gone(f"elsewhere/{pid}/1.0", now, now), "another machine's process cannot be asked for"
    assert not is_gone("", now, now)


def test_a_save_does_not_wait_for_readers(kept):
    made = kept.create_conversation()
    kept.add(made.id, user("q"))
    answer = kept.begin_answer(made.id)
    with kept.db.read() as connection:
        connection.execute(sa.select(messages)).all()
        began = time.monotonic()
        kept.save_partial(answer, [TextPart("a")])
        assert time.monotonic() - began < 5
