"""How long a scrape of the exporter takes while every etcd member is stopped.

The sources hang exactly when they matter, so that is when it is measured: three members are stopped with SIGSTOP and
scraped in five windows, over a new connection each time. Shown beside the figure: the
same with etcd running, and the floor, which is `/healthz` of the same server in the same run.
"""

import http.client
import statistics
import time
from urllib.parse import urlsplit

from benchmarks.report import Report
from drills.stack import Service, Stack

WINDOWS = 5
SCRAPES = 200
PAUSE_SECONDS = 0.01
TARGET_SECONDS = 0.050


def run(report: Report) -> None:
    """The suite `exporter`."""
    with Stack() as stack:
        etcd = stack.etcd(members=3)
        exporter = stack.exporter(
            config={"etcd": [etcd.config], "collectors": {"etcd_quota": {"interval": "1s", "deadline": "900ms"}}}
        )
        report.shown("exporter_scrape_p99_while_etcd_runs", windows(exporter, "/metrics"), "s")
        for member in etcd.members:
            member.pause()
        wait_until_known(exporter, down=len(etcd.members))
        report.at_most("exporter_scrape_p99_while_etcd_stopped", windows(exporter, "/metrics"), "s", TARGET_SECONDS)
        report.shown("exporter_healthz_p99_while_etcd_stopped", windows(exporter, "/healthz"), "s")
        for member in etcd.members:
            member.resume()


def windows(exporter: Service, path: str) -> float:
    """The median of the windows' 99th percentiles, in seconds."""
    return statistics.median(p99(exporter, path) for _ in range(WINDOWS))


def p99(exporter: Service, path: str) -> float:
    """Of one window, in seconds, connecting included."""
    taken = []
    for _ in range(SCRAPES):
        began = time.perf_counter()
        fetch(exporter, path)
        taken.append(time.perf_counter() - began)
        time.sleep(PAUSE_SECONDS)
    return statistics.quantiles(taken, n=100)[98]


def fetch(exporter: Service, path: str) -> str:
    """One answer, over a connection of its own, as after a restart of Prometheus."""
    parts = urlsplit(exporter.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
        if answer.status != http.client.OK:
            raise RuntimeError(f"{path} answered {answer.status}: {body}")
        return body
    finally:
        connection.close()


def wait_until_known(exporter: Service, *, down: int) -> None:
    """Until the exporter has seen that the members do not answer."""
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        lines = fetch(exporter, "/metrics").splitlines()
        if sum(line.startswith("ballast_etcd_quota_member_up{") and line.endswith(" 0.0") for line in lines) == down:
            return
        time.sleep(0.1)
    raise RuntimeError("the exporter does not see that etcd is stopped")
