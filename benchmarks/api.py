"""The API beside llama.cpp's own server: the same weights, threads and requests, in one run.

    python -m benchmarks.api                       # tokens/s and time to first token at 1, 4, 8 and 16 streams
    python -m benchmarks.api --soak-minutes 10     # a full queue with clients that hang up at random

Both servers run all the time; one is asked at a time, in turns, so that both see the same machine. Prompts
differ in every round, so that no prompt cache helps.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from llm.catalogue.lookup import find
from llm.sources import fetch

MODEL = "smollm2-135m-instruct-q4_1"
STREAMS = (1, 4, 8, 16)
SLOTS = 16
CONTEXT_TOKENS = 8192
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=0)
"""A connection for each request: llama.cpp's server closes one that it has streamed over."""
THEMES = ("foxes", "harbours", "winter", "bread", "trains", "mountains", "clocks", "gardens")


@dataclass
class Heard:
    """What a round measured."""

    tokens: int = 0
    seconds: float = 0.0
    first_s: list[float] = field(default_factory=list)

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def p95_first_s(self) -> float:
        ordered = sorted(self.first_s)
        return ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]


def llama_server(model: Path, port: int) -> None:
    """Runs llama.cpp's server until the process ends."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_parallel = SLOTS
    params.kv_unified = True
    params.n_ctx = 2 * CONTEXT_TOKENS
    params.fit_params = False
    params.verbosity = 1
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_threads_http = SLOTS + 4
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def started(command: list[str], url: str, **environment: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **environment})
    for _ in range(600):
        try:
            if httpx.get(f"{url}/v1/models", timeout=5).status_code == 200:
                return process
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"{url} does not answer")


async def one(client: httpx.AsyncClient, url: str, body: dict, heard: Heard) -> None:
    begin = time.perf_counter()
    first = 0.0
    async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            if chunk.get("usage"):
                heard.tokens += chunk["usage"]["completion_tokens"]
            if not first and chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                first = time.perf_counter() - begin
    heard.first_s.append(first)


def body(label: str, tokens: int) -> dict:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"{label}: tell a long story about {random.choice(THEMES)}."}],
        "max_tokens": tokens,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 40,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def round_of(url: str, streams: int, each: int, tokens: int, label: str) -> Heard:
    """`streams` clients, each asking `each` times in a row."""
    heard = Heard()
    async with httpx.AsyncClient(timeout=300, limits=LIMITS) as client:

        async def several(number: int) -> None:
            for turn in range(each):
                await one(client, url, body(f"{label} {number}.{turn}", tokens), heard)

        begin = time.perf_counter()
        await asyncio.gather(*(several(number) for number in range(streams)))
        heard.seconds = time.perf_counter() - begin
    return heard


def compare(hearth: str, llama: str, counts: list[int], rounds: int, tokens: int) -> bool:
    """Prints a row for each number of streams in `counts`. Whether every target was met."""
    print(f"{'streams':>8} {'llama.cpp tok/s':>16} {'Hearth tok/s':>13} {'ratio':>6}  ", end="")
    print(f"{'p95 first, llama.cpp':>21} {'Hearth':>8} {'ratio':>6}")
    good = True
    for url in (hearth, llama):
        asyncio.run(round_of(url, 2, 1, 8, "warm"))
    for streams in counts:
        found: dict[str, list[Heard]] = {hearth: [], llama: []}
        for turn in range(rounds):
            for url in (hearth, llama) if turn % 2 else (llama, hearth):
                found[url].append(asyncio.run(round_of(url, streams, 2, tokens, f"{streams}/{turn}/{url[-2:]}")))
        speed = {url: statistics.median(heard.tokens_per_s for heard in rows) for url, rows in found.items()}
        first = {
            url: Heard(first_s=[s for heard in rows for s in heard.first_s]).p95_first_s for url, rows in found.items()
        }
        ratio, wait = speed[hearth] / speed[llama], first[hearth] / first[llama]
        good &= ratio >= 0.95 and wait <= 1.2
        print(f"{streams:>8} {speed[llama]:>16.1f} {speed[hearth]:>13.1f} {ratio:>6.2f}  ", end="")
        print(f"{first[llama] * 1000:>18.0f} ms {first[hearth] * 1000:>5.0f} ms {wait:>6.2f}", flush=True)
    return good


def resident_bytes(pid: int) -> int:
    import psutil

    return int(psutil.Process(pid).memory_info().rss)


def active(url: str) -> int:
    text = httpx.get(f"{url}/metrics", timeout=60).text
    return next(int(float(line.split()[1])) for line in text.splitlines() if line.startswith("hearth_active"))


async def soak(url: str, pid: int, minutes: float, clients: int) -> bool:
    """Keeps the queue full while clients hang up at random. Whether memory stayed and no slot stuck."""
    ran_s = 0.0  # without the time in which the machine, or this process, was stopped
    counts = {"whole": 0, "left": 0, "told to wait": 0, "failed": 0}
    memory: list[tuple[float, int]] = []

    async def customer(client: httpx.AsyncClient, number: int) -> None:
        chance = random.Random(number)
        while ran_s < 60 * minutes:
            asked = body(f"{number}/{chance.random()}", chance.choice((4, 16, 64, 200)))
            patience_s = chance.choice((0.05, 0.5, 2, 10, 600))
            try:
                async with (
                    asyncio.timeout(patience_s),
                    client.stream("POST", f"{url}/v1/chat/completions", json=asked) as answer,
                ):
                    async for _ in answer.aiter_bytes():
                        pass
                    counts["told to wait" if answer.status_code == 429 else "whole"] += 1
                    if answer.status_code == 429:
                        await asyncio.sleep(chance.random())
            except TimeoutError:
                counts["left"] += 1
            except httpx.HTTPError:
                counts["failed"] += 1

    async def watch() -> None:
        nonlocal ran_s
        while ran_s < 60 * minutes:
            memory.append((ran_s, resident_bytes(pid)))
            begin = time.monotonic()
            await asyncio.sleep(5)
            ran_s += min(time.monotonic() - begin, 6)

    async with httpx.AsyncClient(timeout=600, limits=LIMITS) as client:
        await asyncio.gather(watch(), *(customer(client, number) for number in range(clients)))
    await asyncio.sleep(5)
    # The prompt cache grows to its set size, which is small here so that the first minute fills it.
    early = next(size for at, size in memory if at >= min(60, 60 * minutes / 3))
    late, stuck = resident_bytes(pid), active(url)
    print(f"{minutes:g} minutes, {clients} clients: {counts}")
    print(f"memory after a minute {early / 1e6:.0f} MB, at the end {late / 1e6:.0f} MB ({late / early - 1:+.1%})")
    each = [next(size for at, size in memory if at >= 60 * minute) for minute in range(int(memory[-1][0] / 60) + 1)]
    print("memory at each full minute, MB: " + " ".join(f"{size / 1e6:.0f}" for size in each))
    print(f"requests in work at the end: {stuck}")
    answer = httpx.post(
        f"{url}/v1/chat/completions", json={**body("after", 8), "stream": False, "stream_options": None}
    )
    print(f"a request after it: {answer.status_code}")
    return late <= 1.05 * early and not stuck and answer.status_code == 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=list(STREAMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--soak-minutes", type=float, default=0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--llama-server", nargs=2, metavar=("MODEL", "PORT"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.llama_server:
        llama_server(Path(chosen.llama_server[0]), int(chosen.llama_server[1]))
        return 0
    model = fetch(find(MODEL))
    ports = free_port(), free_port()
    hearth, llama = (f"http://127.0.0.1:{port}" for port in ports)
    soaking = chosen.soak_minutes > 0
    settings = {
        "HEARTH_PARALLEL": "4" if soaking else str(SLOTS),
        "HEARTH_PROMPT_CACHE_MIB": "8" if soaking else "1024",
    }
    settings["HEARTH_QUEUE_LIMIT"] = "8" if soaking else "64"
    command = [sys.executable, "-m", "llm", "serve", "--port", str(ports[0])]
    running = [started(command, hearth, **settings)]
    try:
        if soaking:
            httpx.post(
                f"{hearth}/v1/chat/completions",
                json={**body("warm", 8), "stream_options": None, "stream": False},
                timeout=300,
            )
            return 0 if asyncio.run(soak(hearth, running[0].pid, chosen.soak_minutes, chosen.clients)) else 1
        peer = [sys.executable, "-m", "benchmarks.api", "--llama-server", str(model), str(ports[1])]
        running.append(started(peer, llama))
        return 0 if compare(hearth, llama, chosen.streams, chosen.rounds, chosen.tokens) else 1
    finally:
        for process in running:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
