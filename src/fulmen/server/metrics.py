"""Numbers for Prometheus, named after vLLM's with our prefix, in a registry of each app's own.

Counters and histograms are fed by `generation` as tokens pass; gauges ask the engine when they are scraped.
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fulmen.trace import FinishReason

_FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.25, 2.5, 5, 10, 20, 40, 80, 160, 640, 2560)
_BETWEEN_TOKENS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5, 5, 10, 20)
_TOTALS = ("num_preemptions", "engine_steps")
"""Those of the engine's numbers that only grow."""
_WHOLE = (0.1, 0.3, 0.5, 1, 2, 5, 10, 20, 40, 60, 120, 300, 600, 1200, 3600, 7200)


class ServerMetrics:
    """The metrics of one app.

    Example: `ServerMetrics("smollm2-135m", lambda: {"num_requests_running": 3}).exposition()`.
    """

    def __init__(self, model_name: str, stats: Callable[[], Mapping[str, float]]) -> None:
        """Prepare empty metrics; the engine's `stats` are asked for at each scrape."""
        self._registry = CollectorRegistry()
        self._registry.register(_Engine(model_name, stats))
        self.prompt_tokens = self._counter("prompt_tokens", "Prompt tokens, cached ones included", model_name)
        self.cached_tokens = self._counter("prefix_cache_hits", "Prompt tokens from the prefix store", model_name)
        self.generation_tokens = self._counter("generation_tokens", "Tokens of replies", model_name)
        self.first_token_seconds = self._histogram(
            "time_to_first_token_seconds", "From the request to its first token", _FIRST_TOKEN, model_name
        )
        self.inter_token_seconds = self._histogram(
            "inter_token_latency_seconds", "Between two tokens of a reply", _BETWEEN_TOKENS, model_name
        )
        self._whole_seconds = self._histogram(
            "e2e_request_latency_seconds", "From the request to its last token", _WHOLE, model_name
        )
        self._finished = Counter(
            "fulmen:request_success",
            "Replies that ended, by reason",
            ("model_name", "finished_reason"),
            registry=self._registry,
        )
        self._http = Counter(
            "fulmen:http_requests", "Answers, by path and status", ("path", "status"), registry=self._registry
        )
        self._model_name = model_name

    def finished(self, reason: FinishReason, seconds: float) -> None:
        """Count a reply that ended `seconds` after its request."""
        self._finished.labels(self._model_name, reason).inc()
        self._whole_seconds.observe(seconds)

    def answered(self, path: str, status: int) -> None:
        """Count an HTTP answer; `path` is that of a route, so that its values are few."""
        self._http.labels(path, str(status)).inc()

    def exposition(self) -> tuple[bytes, str]:
        """Return the metrics in Prometheus' text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def _counter(self, name: str, text: str, model_name: str) -> Counter:
        return Counter(f"fulmen:{name}", text, ("model_name",), registry=self._registry).labels(model_name)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], model_name: str) -> Histogram:
        family = Histogram(f"fulmen:{name}", text, ("model_name",), buckets=buckets, registry=self._registry)
        return family.labels(model_name)


class _Engine(Collector):
    """What the engine knows at the moment of the scrape."""

    def __init__(self, model_name: str, stats: Callable[[], Mapping[str, float]]) -> None:
        self._model_name = model_name
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """Yield a gauge or a counter for each number of the engine, and the share of its memory in use."""
        stats = dict(self._stats())
        for name, total in (("kv_cache_usage_perc", "kv_pages"), ("state_slot_usage_perc", "state_slots")):
            if stats.get(total):
                stats[name] = 1 - stats[f"{total}_free"] / stats[total]  # a fraction of 1, as in vLLM
        for name, value in stats.items():
            kind = CounterMetricFamily if name in _TOTALS else GaugeMetricFamily
            family = kind(f"fulmen:{name}", f"The engine's {name}", labels=("model_name",))
            family.add_metric((self._model_name,), value)
            yield family
