"""The cluster on one machine: two replicas, one of which is killed in the middle of a load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.api.conftest import free_port
from tests.conftest import STARTER, give_starter

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240
WORDS = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "minLength": 9000}}}
"""Holds an answer open: without an end in the schema it goes on to max_tokens."""


@dataclass
class Cluster:
    url: str
    log: Path

    def replica_of(self, conversation: str) -> int:
        """Which process answers a conversation."""
        headers = {"X-Conversation-Id": conversation}
        return int(httpx.get(f"{self.url}/health", headers=headers, timeout=PATIENCE_S).headers["x-replica"])

    def replicas_of(self, conversations: list[str]) -> dict[str, int]:
        return {name: self.replica_of(name) for name in conversations}

    def client(self, conversation: str = "") -> OpenAI:
        headers = {"X-Conversation-Id": conversation} if conversation else {}
        return OpenAI(
            base_url=f"{self.url}/v1", api_key="none", timeout=PATIENCE_S, max_retries=0, default_headers=headers
        )

    def active(self, conversation: str) -> int:
        """Requests in work on a conversation's replica."""
        headers = {"X-Conversation-Id": conversation}
        text = httpx.get(f"{self.url}/metrics", headers=headers, timeout=PATIENCE_S).text
        return next(int(float(line.split()[1])) for line in text.splitlines() if line.startswith("hearth_active"))


@pytest.fixture(scope="module")
def cluster(starter_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The app on a Ray of its own, with two replicas of the starter model, one answer at a time each."""
    home = tmp_path_factory.mktemp("home")
    give_starter(home, starter_file)
    port = free_port()
    environment = {
        **os.environ,
        "HEARTH_HOME": str(home),
        "HEARTH_LISTEN": "127.0.0.1",
        "HEARTH_PARALLEL": "1",
        "HEARTH_THREADS": "1",
        "HEARTH_REPLICA_CPUS": "0.5",
        "HEARTH_TEST_PORT": str(port),
        "PYTHONPATH": os.pathsep.join((str(ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")]))),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    cluster = Cluster(f"http://127.0.0.1:{port}", home / "ray.log")
    with cluster.log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.deploy.run_cluster"], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        wait_until(lambda: answers(cluster, process), cluster)
        names = [f"look-{number}" for number in range(12)]
        wait_until(lambda: len(set(cluster.replicas_of(names).values())) == 2, cluster)
        yield cluster
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(cluster: Cluster, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, cluster.log.read_text()[-4000:]
    try:
        return httpx.get(f"{cluster.url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def wait_until(holds: Callable[[], bool], cluster: Cluster) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, cluster.log.read_text()[-4000:]
        time.sleep(0.2)


def ask(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_a_conversation_stays_with_its_replica(cluster: Cluster) -> None:
    """The next turn finds the one before in the cache of the same process."""
    names = [f"talk-{number}" for number in range(16)]
    first = cluster.replicas_of(names)
    assert len(set(first.values())) == 2, "both replicas get conversations"
    assert cluster.replicas_of(names) == first
    messages = ask("Tell me about hearths and fireplaces in old houses.")
    api = cluster.client()
    told = api.chat.completions.create(model=STARTER, messages=messages, max_tokens=8).choices[0].message.content
    messages += [{"role": "assistant", "content": told}, *ask("More, please.")]
    usage = api.chat.completions.create(model=STARTER, messages=messages, max_tokens=4).usage
    assert usage and usage.prompt_tokens_details and (usage.prompt_tokens_details.cached_tokens or 0) > 20


def test_errors_pass_through(cluster: Cluster) -> None:
    with pytest.raises(openai.NotFoundError):
        cluster.client().chat.completions.create(model="no-such-model", messages=ask("x"))


def test_a_client_that_hangs_up_ends_its_answer(cluster: Cluster) -> None:
    how: dict[str, Any] = {"model": STARTER, "messages": ask("x"), "response_format": WORDS, "max_tokens": 4000}
    stream = cluster.client("left").chat.completions.create(**how, stream=True)
    while not next(stream).choices[0].delta.content:
        continue
    assert cluster.active("left") == 1
    stream.close()
    wait_until(lambda: not cluster.active("left"), cluster)


@dataclass
class Reader:
    """A client that reads one streamed answer."""

    conversation: str
    begun: threading.Event = field(default_factory=threading.Event)
    text: str = ""
    error: openai.APIError | None = None
    finish: str | None = None

    def read(self, cluster: Cluster) -> None:
        how: dict[str, Any] = {"model": STARTER, "messages": ask("Tell a story."), "response_format": WORDS}
        try:
            api = cluster.client(self.conversation).chat.completions
            for chunk in api.create(**how, max_tokens=200, stream=True):
                self.text += chunk.choices[0].delta.content or ""
                self.finish = chunk.choices[0].finish_reason
                if self.text:
                    self.begun.set()
        except openai.APIError as error:
            self.error = error


@pytest.mark.slow
def test_killing_a_replica_loses_no_request_that_had_not_begun(cluster: Cluster) -> None:
    """Six streams and two plain questions; each replica writes one answer at a time, so the rest are waiting."""
    names = [f"story-{number}" for number in range(40)]
    before = cluster.replicas_of(names)
    victim, survivor = dict.fromkeys(before.values())
    doomed = [name for name in names if before[name] == victim]
    spared = [name for name in names if before[name] == survivor]
    readers = [Reader(name) for name in (*doomed[:3], *spared[:3])]
    for name in (doomed[0], spared[0]):  # both have the model loaded
        cluster.client(name).chat.completions.create(model=STARTER, messages=ask("x"), max_tokens=1)
    with ThreadPoolExecutor(8) as pool:
        reading = [pool.submit(reader.read, cluster) for reader in readers]
        wait_until(lambda: any(reader.begun.is_set() for reader in readers[:3]), cluster)
        plain = [pool.submit(say, cluster, name) for name in (doomed[3], spared[3])]
        wait_until(lambda: cluster.active(doomed[0]) > 1, cluster)  # one is written, the others wait
        os.kill(victim, signal.SIGKILL)
        for one in reading:
            one.result(timeout=PATIENCE_S)
        assert [one.result(timeout=PATIENCE_S) for one in plain] == [4, 4]
    broken = [reader for reader in readers if reader.error]
    assert broken and all(reader.begun.is_set() and reader.conversation in doomed for reader in broken)
    assert all("stopped" in str(reader.error) and reader.error.code == "replica_died" for reader in broken)  # type: ignore[union-attr]
    whole = [reader for reader in readers if reader not in broken]
    assert len(whole) >= 5 - (len(broken) - 1) and all(reader.finish == "length" for reader in whole)

    # The others' conversations never moved; the dead one's go to its replacement, which takes its place.
    assert {cluster.replica_of(name) for name in spared} == {survivor}
    wait_until(lambda: cluster.replica_of(doomed[0]) not in (victim, survivor), cluster)
    after = cluster.replicas_of(names)
    assert {after[name] for name in spared} == {survivor}
    assert len({after[name] for name in doomed}) == 1 and survivor not in {after[name] for name in doomed}
    assert say(cluster, doomed[0]) == 4, "the replacement answers"


def say(cluster: Cluster, conversation: str) -> int:
    """Tokens of a plain answer."""
    answer = cluster.client(conversation).chat.completions.create(model=STARTER, messages=ask("Hi"), max_tokens=4)
    assert answer.usage
    return answer.usage.completion_tokens
