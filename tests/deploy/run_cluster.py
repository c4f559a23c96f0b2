"""Runs `deploy.ray_app` on a Ray of its own until it is interrupted."""

from __future__ import annotations

import os
import signal
import threading

import ray
from ray import serve

from deploy.ray_app import app

if __name__ == "__main__":
    ray.init(num_cpus=4, include_dashboard=False, object_store_memory=200_000_000, log_to_driver=True)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["HEARTH_TEST_PORT"])})
    serve.run(app)
    done = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: done.set())
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    done.wait()
    serve.shutdown()
    ray.shutdown()
