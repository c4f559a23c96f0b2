"""The cluster on one machine: two replicas, one of which is killed in the middle of a load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.api.conftest import free_port
from tests.conftest import STARTER, give_starter

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -r deploy/requirements.txt runs these tests")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
STORY: dict[str, Any] = {
    "model": STARTER,
    "max_tokens": 200,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"type": "string", "minLength": 5000}},
    },
}


@pytest.fixture(scope="module")
def cluster(starter_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app on a Ray of its own, with two replicas of the starter model."""
    home = tmp_path_factory.mktemp("home")
    give_starter(home, starter_file)
    port = free_port()
    environment = {
        **os.environ,
        "HEARTH_HOME": str(home),
        "HEARTH_LISTEN": "127.0.0.1",
        "HEARTH_PARALLEL": "4",
        "HEARTH_REPLICA_CPUS": "0.5",
        "HEARTH_TEST_PORT": str(port),
        "PYTHONPATH": os.pathsep.join((str(ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")]))),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    log = home / "ray.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.deploy.run_cluster"], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    url = f"http://127.0.0.1:{port}"
    end = time.monotonic() + 240
    while True:
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                break
        except httpx.TransportError:
            assert process.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < end, log.read_text()[-4000:]
        time.sleep(1)
    yield url
    process.send_signal(signal.SIGINT)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def client(url: str) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key="none", timeout=300, max_retries=0)


def ask(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def replicas(url: str) -> dict[str, int]:
    """Process of each replica, found by asking as different conversations."""
    found: dict[str, int] = {}
    for number in range(40):
        answer = httpx.get(f"{url}/health", headers={"X-Conversation-Id": f"look-{number}"}, timeout=60)
        found[answer.headers["x-replica"]] = int(answer.headers["x-replica"])
        if len(found) == 2:
            break
    return found


def test_a_conversation_stays_with_its_replica(cluster: str) -> None:
    """The second turn finds the first one's prompt in the cache of the same process."""
    for number in range(4):
        headers = {"X-Conversation-Id": f"talk-{number}"}
        first = httpx.get(f"{cluster}/health", headers=headers, timeout=60).headers["x-replica"]
        time.sleep(3)  # replicas tell the front what they hold, about once a second
        seen = {httpx.get(f"{cluster}/health", headers=headers, timeout=60).headers["x-replica"] for _ in range(6)}
        assert seen == {first}
    messages = ask("Tell me about hearths and fireplaces in old houses.")
    api = client(cluster)
    first = api.chat.completions.create(model=STARTER, messages=messages, max_tokens=8).choices[0].message.content
    messages += [{"role": "assistant", "content": first}, *ask("More, please.")]
    time.sleep(3)
    usage = api.chat.completions.create(model=STARTER, messages=messages, max_tokens=4).usage
    assert usage and usage.prompt_tokens_details and (usage.prompt_tokens_details.cached_tokens or 0) > 20


def test_errors_pass_through(cluster: str) -> None:
    with pytest.raises(openai.NotFoundError):
        client(cluster).chat.completions.create(model="no-such-model", messages=ask("x"))


def test_killing_a_replica_loses_no_request_that_had_not_begun(cluster: str) -> None:
    both = replicas(cluster)
    assert len(both) == 2, "two replicas answer"
    api = client(cluster)

    def stream(number: int) -> str:
        begun = False
        try:
            for chunk in api.chat.completions.create(**STORY, messages=ask(f"Story {number}"), stream=True):
                begun = begun or bool(chunk.choices and chunk.choices[0].delta.content)
        except openai.APIError as error:
            assert begun or "stopped" in str(error), f"lost before it began: {error!r}"
            return "broken"
        return "whole"

    def whole(number: int) -> str:
        answer = api.chat.completions.create(model=STARTER, messages=ask(f"Question {number}"), max_tokens=16)
        return "whole" if answer.usage and answer.usage.completion_tokens else "empty"

    with ThreadPoolExecutor(12) as pool:
        streams = [pool.submit(stream, number) for number in range(6)]
        time.sleep(6)
        plain = [pool.submit(whole, number) for number in range(6)]
        time.sleep(0.5)
        os.kill(next(iter(both.values())), signal.SIGKILL)
        ends = [one.result(timeout=400) for one in streams]
        assert [one.result(timeout=400) for one in plain] == ["whole"] * 6
    assert ends.count("broken") >= 1 and set(ends) <= {"broken", "whole"}
    assert stream(99) == "whole", "the cluster goes on"
