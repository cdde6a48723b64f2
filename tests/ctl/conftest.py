import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from werkzeug.serving import make_server

from ballast_remediator.app import create_app
from ballast_remediator.store.database import Store
from ballastctl.cli import main
from drills.keyspace import objects
from drills.stack import EtcdCluster, Stack
from tests.ctl.spaces import ROOT, put
from tests.remediator.web.setting import ROLES, RecordingEngine, Site, make_site, seed

Ctl = Callable[..., Result]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = make_site(tmp_path)
    for role in ROLES:
        (tmp_path / f"{role}.token").write_text(f"{role}-secret\n")
    return made


@pytest.fixture
def store(site: Site) -> Iterator[Store]:
    with Store(site.config.store.place) as opened:
        yield opened


@pytest.fixture
def run_id(store: Store) -> str:
    return seed(store)


@pytest.fixture
def url(site: Site, store: Store) -> Iterator[str]:
    """A remediator whose engine does nothing."""
    app = create_app(site.config, engine=RecordingEngine(), store=store)
    server = make_server("127.0.0.1", site.port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{site.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ctl(site: Site, url: str) -> Ctl:
    def call(*arguments: str, role: str = "approver", at: str = url) -> Result:
        environment = {"BALLAST_URL": at, "BALLAST_TOKEN_FILE": str(site.folder / f"{role}.token")}
        return CliRunner().invoke(main, arguments, env=environment)

    return call


@pytest.fixture(scope="session")
def filled(session_stack: Stack) -> EtcdCluster:
    """Four nodes' keys below ``ROOT``, and one of a stranger; nobody writes to it any more."""
    etcd = session_stack.etcd()
    put(etcd, [*objects(4, prefix=ROOT), (b"/space-stranger/one", b"x" * 1000)])
    return etcd
