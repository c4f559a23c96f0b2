"""What Prometheus reads at /metrics. Names and units follow https://prometheus.io/docs/practices/naming/."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from llm.api.work import Gate
from llm.events import Finished

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counters of one API app. Labels are routes and catalogue names, never what a caller typed."""

    def __init__(self, gate: Gate) -> None:
        self._registry = CollectorRegistry()
        reg = self._registry
        self.requests = Counter("hearth_requests", "Requests by route and status.", ["route", "status"], registry=reg)
        self.answer_s = Histogram(
            "hearth_response_start_seconds", "Until a response begins.", ["route"], buckets=_SECONDS, registry=reg
        )
        self.tokens = Counter("hearth_tokens", "Tokens by model and kind.", ["model", "kind"], registry=reg)
        self.first_token_s = Histogram(
            "hearth_first_token_seconds", "Until the first token.", ["model"], buckets=_SECONDS, registry=reg
        )
        self.answers = Counter("hearth_answers", "Answers by model and end.", ["model", "reason"], registry=reg)
        active = Gauge("hearth_active_requests", "Requests being answered or waiting.", registry=reg)
        active.set_function(lambda: gate.active)

    def count(self, model: str, end: Finished) -> None:
        self.answers.labels(model, end.reason).inc()
        self.tokens.labels(model, "prompt").inc(end.usage.prompt_tokens)
        self.tokens.labels(model, "cached").inc(end.usage.cached_tokens)
        self.tokens.labels(model, "completion").inc(end.usage.completion_tokens)
        self.first_token_s.labels(model).observe(end.timings.first_token_s)

    def text(self) -> bytes:
        return generate_latest(self._registry)
