"""What the tests of the remediator's core share."""

import resource
from collections.abc import Iterator

import pytest
import structlog

from ballast_remediator.engine import execution, planning
from ballast_remediator.runbooks import etcd_compact, etcd_leases
from ballast_remediator.store import ledger
from ballast_remediator.store.places import PostgresqlServer
from drills.stack import EtcdCluster, Postgresql, Stack
from tests.remediator import chain
from tests.remediator.doubles import FakePrometheus, http_server


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> None:
    """structlog's own default paints every variable of a traceback, which takes minutes."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ]
    )


@pytest.fixture(autouse=True)
def looks_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """How often the world is looked at again is chosen for etcds of gigabytes."""
    monkeypatch.setattr(planning, "RETRY", 0.2)
    monkeypatch.setattr(ledger, "RETRY", 0.2)
    monkeypatch.setattr(etcd_compact, "READING_PAUSE", 0.1)
    monkeypatch.setattr(etcd_compact, "READERS_END", 0.5)
    monkeypatch.setattr(etcd_leases, "PAUSE", 0.2)
    monkeypatch.setattr(execution, "PAUSE", 0.2)


@pytest.fixture(scope="session")
def full_etcd(session_stack: Stack) -> EtcdCluster:
    """Three members, full: for the tests that see a run refused, which leaves etcd as it is."""
    return chain.full(session_stack)


@pytest.fixture(scope="session")
def postgresql(session_stack: Stack) -> Postgresql:
    """Shared by the session: a test takes a database of its own and does nothing to the server."""
    # Nobody cuts its power, and a database for each test is many files to synchronise.
    return session_stack.postgresql(settings={"fsync": "off", "full_page_writes": "off"})


@pytest.fixture
def shared(postgresql: Postgresql) -> PostgresqlServer:
    """An empty database, for as many replicas as a test opens."""
    return PostgresqlServer(postgresql.fresh(), postgresql.password_file)


@pytest.fixture
def prometheus() -> FakePrometheus:
    """Knows of ample disk and of revision 1; a test may change what it knows."""
    return FakePrometheus(node_filesystem_avail_bytes=1e12, ballast_etcd_quota_revision=1)


@pytest.fixture
def prometheus_url(prometheus: FakePrometheus) -> Iterator[str]:
    with http_server(prometheus) as url:
        yield url


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may grow over 4 MiB, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * chain.MIB, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
