"""One etcd as ``ballastctl`` reaches it: the members it was given, each asked once, whatever they are called."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from ballast_exporter.census import Counter, Settings
from ballast_exporter.census_members import Source
from ballast_exporter.contract import Deadline, RequestCounter
from ballast_exporter.etcd_members import Cluster, ClusterView, Target
from kube_ballast.clients.errors import BadResponse, ClientError, Denied, Unavailable
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.http import EtcdHttp
from kube_ballast.clients.etcd.types import Member
from kube_ballast.config import EtcdConfig, EtcdMemberConfig

LOOK_SECONDS = 8.0


class SeveralEtcds(Exception):
    """The endpoints belong to more than one etcd; the text tells which to which."""


@dataclass(frozen=True, slots=True)
class Look:
    """One etcd as it is now. ``missing`` are the members it lists and nobody named; ``notes`` are for people."""

    view: ClusterView
    missing: tuple[Member, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Reached:
    config: EtcdMemberConfig
    grpc: EtcdClient
    http: EtcdHttp


class Etcd:
    """Connections to the members of ``config``. Nothing is sent before ``look``."""

    def __init__(self, config: EtcdConfig) -> None:
        self._name = config.name
        self._reached = [
            _Reached(
                member,
                EtcdClient(member.endpoint, tls=config.tls, auth=config.auth),
                EtcdHttp(member.http_url, tls=config.tls),
            )
            for member in config.members
        ]
        self._same: list[str] = []
        self._cluster = self._as_cluster()

    def look(self) -> Look:
        """Ask every member how it is; 8 seconds at most.

        Raises:
            SeveralEtcds: the endpoints do not belong together.
            ClientError: no member gave its status, and none is known to defragment.
        """
        view = self._view()
        if self._drop_doubles(view):
            view = self._view()
        if not view.readable:
            raise _most_telling([each.status for each in view.members if isinstance(each.status, ClientError)])
        missing, trouble = self._missing(view)
        return Look(view, missing, (*self._same, *view.notes, *trouble))

    def counter(self, settings: Settings) -> Counter:
        """Counts this etcd's keys; call ``look`` before."""
        return Counter([Source(each.config.endpoint, each.grpc, each.http) for each in self._reached], settings)

    def close(self) -> None:
        """Ends the connections."""
        self._cluster.close()

    def _as_cluster(self) -> Cluster:
        targets = (Target(each.config, each.grpc, each.http) for each in self._reached)
        return Cluster(self._name, tuple(targets), RequestCounter())

    def _view(self) -> ClusterView:
        deadline = Deadline(time.monotonic() + LOOK_SECONDS)
        self._cluster.ask(deadline)
        return self._cluster.view(deadline)

    def _drop_doubles(self, view: ClusterView) -> bool:
        """Keep one endpoint a member; whether there were more."""
        clusters: dict[int, list[str]] = {}
        first: dict[int, _Reached] = {}
        for reached, member in zip(self._reached, view.members, strict=True):
            if member.answered is None:
                continue
            clusters.setdefault(member.answered.cluster_id, []).append(member.endpoint)
            kept = first.setdefault(member.answered.member_id, reached)
            if kept is not reached:
                self._same.append(f"{member.endpoint} and {kept.config.endpoint} are the same member: asked once")
        if len(clusters) > 1:
            groups = "; ".join(" and ".join(endpoints) for endpoints in clusters.values())
            raise SeveralEtcds(f"these endpoints belong to {len(clusters)} different etcds: {groups}. Name one etcd's")
        doubles = [
            reached
            for reached, member in zip(self._reached, view.members, strict=True)
            if member.answered is not None and first[member.answered.member_id] is not reached
        ]
        for reached in doubles:
            reached.grpc.close()
            self._reached.remove(reached)
        if doubles:
            self._cluster = self._as_cluster()
        return bool(doubles)

    def _missing(self, view: ClusterView) -> tuple[tuple[Member, ...], tuple[str, ...]]:
        """Members that etcd lists and that are not among those asked, and what kept us from knowing."""
        asked = {each.answered.member_id for each in view.members if each.answered is not None}
        unanswered = {each.endpoint for each in view.members if each.answered is None}
        for reached, member in zip(self._reached, view.members, strict=True):
            if member.answered is None or member.answered.is_learner:
                continue
            try:
                listed = reached.grpc.member_list(timeout=LOOK_SECONDS / 2, linearizable=False)
            except ClientError as error:
                return (), (f"whether members are missing is unknown: {error}",)
            strangers = tuple(each for each in listed if each.id not in asked and not unanswered & {*_urls(each)})
            known_by_address = sum(bool(unanswered & {*_urls(each)}) for each in listed)
            # Whoever did not answer may be one of them under another address.
            return (strangers if len(strangers) > len(unanswered) - known_by_address else ()), ()
        return (), ()


def _urls(member: Member) -> Iterator[str]:
    return (url.rstrip("/") for url in member.client_urls)


def _most_telling(errors: list[ClientError]) -> ClientError:
    """Of several failures the one a person can do most about."""
    order = (Denied, BadResponse, Unavailable)
    rank = {kind: place for place, kind in enumerate(order)}
    return min(errors, key=lambda error: rank.get(type(error), len(order)))
