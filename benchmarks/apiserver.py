"""What it costs to read an apiserver's page of metrics, beside prometheus_client's parser on the same page.

A page in upstream's form: 200,000 samples, 37 MB, of which the collector wants one in thirty-five. `filter` finds these
lines; `read` parses and counts them too; the parser is prometheus_client's, on all of it. All three are CPU time of one
thread, and what was found has to be equal. Memory is the peak of a process of its own, which reads the page over HTTP,
above what it took before: ``python -m benchmarks.apiserver URL``.
"""

import http.server
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from benchmarks import apiserver_clients
from benchmarks.memory import memory
from benchmarks.report import Report
from kube_ballast.analysis.apiserver_requests import METRICS, Tally
from kube_ballast.clients.apiserver import ApiserverMetrics
from kube_ballast.clients.exposition import Filter, Lines, Sample
from kube_ballast.config import HttpConfig

SAMPLES: Final = 200_000
ROUNDS: Final = 7
PIECE_BYTES: Final = 64 * 1024
MB: Final = 1e6
VERBS: Final = ("GET", "LIST", "WATCH", "POST", "PUT", "PATCH", "DELETE")
GROUPS: Final = ("", "networking.k8s.io", "platform.example.com", "coordination.k8s.io")
BUCKETS: Final = (
    *("0.005", "0.025", "0.05", "0.1", "0.2", "0.4", "0.6", "0.8", "1", "1.25", "1.5", "2"),
    *("3", "4", "5", "6", "8", "10", "15", "20", "30", "45", "60", "+Inf"),
)


def run(report: Report) -> None:
    """The suite `apiserver`: about four minutes."""
    page = "".join(lines()).encode()
    report.shown("apiserver_page_samples", SAMPLES, "samples")
    report.shown("apiserver_page", len(page) / MB, "MB")
    found: list[bytes] = []
    samples: list[Sample] = []
    filtering = statistics.median(seconds(lambda: fed(Lines(METRICS, found.append), page)) for _ in range(ROUNDS))
    reading = statistics.median(seconds(lambda: fed(Filter(METRICS, Tally().take), page)) for _ in range(ROUNDS))
    fed(Filter(METRICS, samples.append), page)
    parsed: list[Sample] = []
    parsing = seconds(lambda: parsed.extend(parse(page.decode())))
    if sorted(map(repr, samples)) != sorted(map(repr, parsed)):
        raise RuntimeError("the filter did not find what prometheus_client's parser finds")
    report.shown("apiserver_wanted_samples", len(samples), "samples")
    report.at_least("apiserver_filter", len(page) / MB / filtering, "MB/s", 400.0)
    report.shown("apiserver_read", reading, "s")
    report.shown("apiserver_parser", parsing, "s")
    report.at_least("apiserver_read_faster_than_parser", parsing / reading, "times", 40.0)
    report.at_most("apiserver_read_memory", grown(page) / MB, "MB", 8.0)
    apiserver_clients.run(report)


# --- the page ---


def lines() -> Iterator[str]:
    """The page's lines: of each resource and verb what an apiserver of 1.36 tells, and histograms as its bulk."""
    yield "# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.\n"
    yield "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1.79547131409e+09\n"
    left, number = SAMPLES - 1, 0
    while left > 0:
        told = list(samples_of(number))[:left]
        yield from told
        left -= len(told)
        number += 1


def samples_of(number: int) -> Iterator[str]:
    """Of one resource and one verb."""
    verb, group = VERBS[number % len(VERBS)], GROUPS[number % len(GROUPS)]
    whose = f'group="{group}",resource="horizontalpodautoscalers{number // len(VERBS)}"'
    place = f'component="apiserver",{whose},scope="namespace",subresource="",verb="{verb}",version="v1"'
    dry = place.replace("component", 'dry_run="",component')
    for code in (200, 404) if number % 3 else (200,):
        yield f'apiserver_request_total{{code="{code}",{dry}}} {number * 7919 % 1_000_003}\n'
    if verb == "WATCH":
        yield f"apiserver_longrunning_requests{{{place}}} {number % 40}\n"
        yield f"apiserver_resource_objects{{{whose}}} {number}\n"
        yield f"apiserver_resource_size_estimate_bytes{{{whose}}} {number * 900}\n"
    for name, labels in (
        ("apiserver_request_duration_seconds", dry),
        ("apiserver_request_sli_duration_seconds", place),
        ("etcd_request_duration_seconds", f'{whose},operation="{verb.lower()}"'),
    ):
        for count, bucket in enumerate(BUCKETS):
            yield f'{name}_bucket{{{labels},le="{bucket}"}} {count * number * 7919}\n'
        yield f"{name}_sum{{{labels}}} {number / 7}\n"
        yield f"{name}_count{{{labels}}} {len(BUCKETS) * number}\n"
    if verb in {"GET", "LIST"}:
        for bucket in ("1000", "10000", "100000", "1e+06", "1e+07", "1e+08", "1e+09", "+Inf"):
            yield f'apiserver_response_sizes_bucket{{{place},le="{bucket}"}} {number}\n'
        yield f"apiserver_response_sizes_sum{{{place}}} {number * 4096.5}\n"
        yield f"apiserver_response_sizes_count{{{place}}} {number}\n"


# --- time ---


def seconds(work: Callable[[], object]) -> float:
    """CPU time of this thread."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def fed(lines: Lines, page: bytes) -> None:
    """The page goes through in the pieces in which it would come."""
    for start in range(0, len(page), PIECE_BYTES):
        lines.feed(page[start : start + PIECE_BYTES])
    lines.close()


def parse(page: str) -> Iterator[Sample]:
    """With prometheus_client, everything, of which the wanted is kept."""
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in METRICS:
                yield Sample(sample.name, sample.labels, float(sample.value))


# --- memory ---


def grown(page: bytes) -> float:
    """Bytes by which another process grows at most while it reads the page over HTTP."""
    with serving(page) as url:
        program = [sys.executable, "-m", "benchmarks.apiserver", url]
        return float(subprocess.run(program, check=True, capture_output=True, text=True, timeout=60).stdout)


@contextmanager
def serving(page: bytes) -> Iterator[str]:
    """An HTTP server on loopback that answers with the page, in pieces."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def read(url: str) -> int:
    """Reads the page there and gives the bytes by which this process's peak grew."""
    source, tally = ApiserverMetrics(HttpConfig(url=url)), Tally()
    before = memory("VmRSS")
    source.read(METRICS, tally.take, timeout=60.0)
    assert tally.is_an_apiservers
    return memory("VmHWM") - before


if __name__ == "__main__":
    print(read(sys.argv[1]))
