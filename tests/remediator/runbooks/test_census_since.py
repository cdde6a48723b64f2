"""What etcd itself says of the time since a census: on a real member, whose census a real exporter made."""

from collections.abc import Iterator

import pytest

from ballast_remediator import connections
from ballast_remediator.config import EtcdFreeSpaceSettings
from ballast_remediator.runbooks.etcd_census import filling
from drills.filling import client
from drills.stack import EtcdCluster, Stack
from kube_ballast.analysis.live_data import Filling, Since
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.types import prefix_end
from kube_ballast.clients.prometheus import Prometheus
from kube_ballast.config import HttpConfig
from tests.remediator.chain import SOON, revision
from tests.remediator.doubles import http_server
from tests.remediator.runbooks.telling import Teller, exporter, told_by

EVENTS, PODS = b"/registry/events/default/", b"/registry/pods/default/"
KEYS = 40


class Counted:
    """An etcd of which there is a census, and what was seen of it since."""

    def __init__(self, etcd: EtcdCluster, teller: Teller, url: str) -> None:
        self.etcd = etcd
        self.teller = teller
        prometheus = Prometheus(HttpConfig(url=url))
        self._seen = connections.EtcdCluster(etcd.config, prometheus, {"cluster": "here"})

    @property
    def filling(self) -> Filling:
        return filling(self._seen, EtcdFreeSpaceSettings())


@pytest.fixture
def member(stack: Stack) -> Iterator[tuple[EtcdClient, Counted]]:
    etcd = stack.etcd()
    with client(etcd) as one:
        for prefix in (EVENTS, PODS):
            for number in range(KEYS):
                one.put(prefix + str(number).encode(), bytes(1000), timeout=SOON)
        teller = Teller(told_by(exporter(stack, etcd), revision(etcd)))
        with http_server(teller) as url:
            yield one, Counted(etcd, teller, url)


def test_nothing(member: tuple[EtcdClient, Counted]) -> None:
    _, counted = member
    assert counted.filling.since == Since(0, 0, 0)
    assert counted.filling.at_least > 2 * KEYS * 1000, "all of it"
    assert counted.teller.asked[0].endswith(',cluster="here",etcd_cluster="main"}')


def test_events_expire_many_in_one_revision(member: tuple[EtcdClient, Counted]) -> None:
    one, counted = member
    one.delete_range(EVENTS, prefix_end(EVENTS), timeout=SOON)
    assert counted.filling.since == Since(1, KEYS, 0)


def test_others_are_deleted_and_written(member: tuple[EtcdClient, Counted]) -> None:
    one, counted = member
    one.delete_range(PODS + b"1", timeout=SOON)
    one.delete_range(PODS + b"2", timeout=SOON)
    one.put(PODS + b"3", b"smaller", timeout=SOON)
    one.put(EVENTS + b"new", b"", timeout=SOON)
    assert counted.filling.since == Since(4, -1, 2)
    assert counted.filling.at_least == 0, "four objects of 1.5 MiB may have been among so few"
    assert ", 4 revisions since): " in counted.filling.words


def test_a_census_whose_revision_was_compacted_away_cannot_be_checked(member: tuple[EtcdClient, Counted]) -> None:
    one, counted = member
    one.compact(one.put(b"/other", b"", timeout=SOON).revision, timeout=SOON)
    assert counted.filling.report is None
    assert "the revision of the census has been compacted away since, so it cannot be checked" in counted.filling.words


def test_an_etcd_that_is_gone(member: tuple[EtcdClient, Counted]) -> None:
    _, counted = member
    counted.etcd.members[0].kill()
    assert counted.filling.report is None
    assert "etcd does not tell what was written since: " in counted.filling.words
