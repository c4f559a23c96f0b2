"""The bare library: xllamacpp in a plain script, one answer at a time.

Reads jobs as JSON lines `{"prompt": token ids, "tokens": n}`; prints `RESULT` and the second of each token.
"""

import json
import sys
import time

from xllamacpp import CommonParams, Server


def main(model: str, threads: int) -> None:
    params = CommonParams()
    params.model.path = model
    params.n_ctx = 8192
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = Server(params)
    for line in sys.stdin:
        job = json.loads(line)
        times: list[float] = []
        started = time.perf_counter()
        body = {"prompt": job["prompt"], "n_predict": job["tokens"], "stream": True, "temperature": 0}

        def take(chunk: dict, times: list[float] = times) -> bool:
            if chunk["choices"][0]["text"]:
                times.append(time.perf_counter())
            return False

        server.handle_completions(body, take)
        print("RESULT", json.dumps({"times": [at - started for at in times]}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
