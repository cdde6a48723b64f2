r"""What each apiserver is asked: requests by resource, verb and code, open watches, rejections, objects, audit events.

Gives, per apiserver (HELP and TYPE lines left out)::

    ballast_apiserver_requests_readable{apiserver="10.0.0.1:6443"} 1.0
    ballast_apiserver_requests_total{apiserver="10.0.0.1:6443",code="2xx",group="",resource="configmaps",
        verb="GET"} 4711.0
    ballast_apiserver_requests_longrunning{apiserver="10.0.0.1:6443",group="",resource="configmaps",
        verb="WATCH"} 150000.0
    ballast_apiserver_requests_response_bytes_total{apiserver="10.0.0.1:6443",group="",resource="configmaps",
        verb="LIST"} 1.4e+09
    ballast_apiserver_requests_rejected_total{apiserver="10.0.0.1:6443",priority_level="workload-low",
        reason="queue-full"} 12.0
    ballast_apiserver_requests_queued{apiserver="10.0.0.1:6443",priority_level="workload-low"} 40.0
    ballast_apiserver_requests_objects{apiserver="10.0.0.1:6443",group="",resource="configmaps"} 9000.0
    ballast_apiserver_requests_objects_bytes{apiserver="10.0.0.1:6443",group="",resource="configmaps"} 9.4e+07
    ballast_apiserver_requests_audit_events_total{apiserver="10.0.0.1:6443"} 5000.0
    ballast_apiserver_requests_audit_lost_events_total{apiserver="10.0.0.1:6443",plugin="buffered"} 0.0

They are the apiserver's own counts, summed over version, scope, subresource, dry run and component, and the same for
Kubernetes 1.30 to 1.37. What is unknown is absent:

* ``readable`` is about our own sight and so always known; an apiserver that is not readable has nothing else. When none
  is, the collector fails.
* A WATCH is counted in ``total`` when it ends: open ones are in ``longrunning``, and only there.
* Requests that name no resource (``/healthz``, ``/metrics``) have ``resource=""``.
* ``response_bytes`` counts GET and LIST only, as upstream does; ``objects_bytes`` is an estimate (the last seen size of
  live objects) that apiservers give since 1.34. Objects that could not be counted are absent.
* ``rejected`` and ``queued`` have each priority level from the start.
* ``audit_lost_events`` are those that no backend of the apiserver's audit has got, for a webhook and a log together:
  ``buffered`` where its buffer was full, ``webhook`` where the receiver was not reached. Both are there from the start.
* The ``top`` busiest resources of the first look are told by name, later ones while there is room; the others
  together are ``resource="(other)"``. A resource does not change sides, so no counter goes down.
* A URL that is a load balancer's, or a second one of the same apiserver, is not readable; the note names it. It is
  known by the process that answers there, so a single URL shows it only once different apiservers took turns.

Cost: per poll and apiserver 1 GET /metrics: 1.7 MB and 27 ms of the time of an idle one, tens of MB of a busy one, of
which the exporter holds one line and one piece of 64 KiB. It is asked for unpacked: packing it costs the apiserver half
as much again. About 10 series a resource and apiserver, 4 a priority level, 3 of the audit.

With ``apiservers.kubernetes`` there is 1 LIST more per poll, of the EndpointSlices of the Service ``kubernetes``. An
apiserver that is named there no more is asked for another 15 minutes: the others take it off when it hangs.

Reads: ``kube_ballast.analysis.apiserver_requests.METRICS`` of ``/metrics``, which takes the verb get on that
nonResourceURL; the EndpointSlices, which takes the verb list on endpointslices in the namespace default.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Protocol
from urllib.parse import urlsplit

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ballast_exporter.apiservers import Apiservers, Discovered, Listed
from ballast_exporter.config import Config
from ballast_exporter.contract import Deadline, KubernetesRule, RequestCounter, Snapshot
from kube_ballast.analysis.apiserver_identity import Identities
from kube_ballast.analysis.apiserver_requests import METRICS, Names, Tally
from kube_ballast.analysis.keyspace import Resource
from kube_ballast.clients.apiserver import ApiserverMetrics
from kube_ballast.clients.apiserver_addresses import apiserver_urls
from kube_ballast.clients.errors import BadResponse, ClientError, Unavailable
from kube_ballast.clients.exposition import Sample
from kube_ballast.clients.kubernetes.client import Kubernetes
from kube_ballast.clients.kubernetes.metrics import InstanceMetrics
from kube_ballast.config import HttpConfig

NAME = "apiserver_requests"
RULES = (
    KubernetesRule(("get",), urls=("/metrics",)),
    KubernetesRule(("list",), ("endpointslices",), group="discovery.k8s.io", namespace="default"),
)
_FIND_SHARE, _READ_SHARE = 0.1, 0.8
"""Of the deadline; the rest is for what is made of it."""
_MOST_APISERVERS = 32
"""As many are asked at once; threads are made as they are needed."""


_Counts = Iterable[tuple[tuple[Resource | str, ...], float]]
_Family = type[CounterMetricFamily] | type[GaugeMetricFamily]


class Source(Protocol):
    """An apiserver as this collector sees it."""

    @property
    def url(self) -> str: ...
    def read(self, names: Iterable[str], take: Callable[[Sample], None], *, timeout: float) -> None: ...


class ApiserverRequests:
    """The collector; see the module's text for what it gives."""

    def __init__(self, apiservers: Apiservers[Source], requests: RequestCounter, top: int) -> None:
        self._apiservers = apiservers
        self._requests = requests
        self._names = Names(top)
        self._identities = Identities()
        # A thread for each: one that does not answer takes none from the others.
        self._pool = ThreadPoolExecutor(_MOST_APISERVERS, thread_name_prefix=NAME)

    def collect(self, deadline: Deadline) -> Snapshot:
        """One look at every apiserver, all at once. Raises ClientError when none of them can be read."""
        # Rounded, so that a message that names it is the same at each poll, and logged once.
        to_find, to_read = (round(share * deadline.remaining(), 1) for share in (_FIND_SHARE, _READ_SHARE))
        sources, trouble = self._apiservers.now(to_find)
        answers = list(self._pool.map(lambda source: self._ask(source, to_read), sources))
        read = {source.url: it for source, it in zip(sources, answers, strict=True) if isinstance(it, Tally)}
        errors = [each for each in answers if isinstance(each, ClientError)]
        unusable = self._identities.unusable(read)
        errors += [BadResponse(url, why) for url, why in unusable.items()]
        told = {_label(url): tally for url, tally in read.items() if url not in unusable}
        if not told:
            raise _all(errors)
        self._names.learn(told.values())
        notes = [*trouble, *map(str, errors)]
        if self._names.left_out:
            notes.append(f"{self._names.left_out} resources are told together as (other); see the setting top")
        return Snapshot(tuple(self._families([source.url for source in sources], told)), tuple(notes))

    def close(self) -> None:
        """Let go of the threads, without waiting for what is under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, source: Source, timeout: float) -> Tally | ClientError:
        self._requests.count("apiserver", source.url)
        tally = Tally()
        try:
            source.read(METRICS, tally.take, timeout=timeout)
        except ClientError as error:
            return error
        if not tally.is_an_apiservers:
            return BadResponse(source.url, "GET /metrics: no apiserver's metrics; does the URL lead to an apiserver?")
        return tally

    def _families(self, urls: Iterable[str], told: Mapping[str, Tally]) -> Iterable[Metric]:
        readable = GaugeMetricFamily(
            f"ballast_{NAME}_readable", "Whether this apiserver's metrics could be read.", labels=["apiserver"]
        )
        for url in urls:
            readable.add_metric([_label(url)], _label(url) in told)
        yield readable
        for kind, name, text, labels, counts in _FAMILIES:
            family = kind(f"ballast_{NAME}{name}", text, labels=["apiserver", *labels])
            for apiserver, tally in told.items():
                for key, value in sorted(self._named(counts(tally)).items()):
                    if math.isfinite(value):
                        family.add_metric([apiserver, *key], value)
            yield family

    def _named(self, counts: _Counts) -> Mapping[tuple[str, ...], float]:
        """With resources as group and name, and those that are not told by name summed."""
        named: dict[tuple[str, ...], float] = {}
        for parts, value in counts:
            key = tuple(chain.from_iterable(self._names.name(p) if isinstance(p, Resource) else (p,) for p in parts))
            named[key] = named.get(key, 0.0) + value
        return named


def build(config: Config, requests: RequestCounter) -> ApiserverRequests:
    """The collector for the apiservers that are configured, or that the configured cluster names."""
    settings = config.apiservers
    assert settings is not None, "without apiservers this collector is not enabled"

    def connect(url: str) -> Source:
        return ApiserverMetrics(HttpConfig(url=url, tls=settings.tls, bearer_token_file=settings.bearer_token_file))

    apiservers: Apiservers[Source] = Listed([connect(url) for url in settings.urls or ()])
    if settings.kubernetes is not None:
        kubernetes = Kubernetes(settings.kubernetes, agent="ballast-exporter")

        def find(timeout: float) -> Sequence[str]:
            requests.count("apiserver", kubernetes.target)
            return apiserver_urls(kubernetes, timeout=timeout)

        own = settings.tls or settings.bearer_token_file
        apiservers = Discovered(find, connect if own else lambda url: InstanceMetrics(kubernetes, url))
    return ApiserverRequests(apiservers, requests, config.collectors.apiserver_requests.top)


def _label(url: str) -> str:
    return urlsplit(url).netloc


def _all(errors: Sequence[ClientError]) -> ClientError:
    if len(errors) == 1:
        return errors[0]
    return Unavailable("every apiserver", "none can be read: " + "; ".join(map(str, errors)))


_BY_VERB = ("group", "resource", "verb")
_FAMILIES: tuple[tuple[_Family, str, str, Sequence[str], Callable[[Tally], _Counts]], ...] = (
    (
        CounterMetricFamily,
        "",
        "Requests that were answered, by the class of their status code; a WATCH is answered when it ends.",
        (*_BY_VERB, "code"),
        lambda tally: tally.requests.items(),
    ),
    (
        GaugeMetricFamily,
        "_longrunning",
        "Long-running requests that are open, such as watches.",
        _BY_VERB,
        lambda tally: tally.longrunning.items(),
    ),
    (
        CounterMetricFamily,
        "_response_bytes",
        "Bytes of the answers to GET and LIST.",
        _BY_VERB,
        lambda tally: tally.response_bytes.items(),
    ),
    (
        CounterMetricFamily,
        "_rejected",
        "Requests that flow control turned away, with status 429.",
        ("priority_level", "reason"),
        lambda tally: tally.rejected.items(),
    ),
    (
        GaugeMetricFamily,
        "_queued",
        "Requests that wait in flow control's queues.",
        ("priority_level",),
        lambda tally: [((level,), count) for level, count in tally.queued.items()],
    ),
    (
        GaugeMetricFamily,
        "_objects",
        "Objects stored, as the apiserver last counted them.",
        ("group", "resource"),
        lambda tally: [((resource,), count) for resource, count in tally.objects.items()],
    ),
    (
        GaugeMetricFamily,
        "_objects_bytes",
        "What the stored objects take, as the apiserver estimates it; since Kubernetes 1.34.",
        ("group", "resource"),
        lambda tally: [((resource,), size) for resource, size in tally.objects_bytes.items()],
    ),
    (
        CounterMetricFamily,
        "_audit_events",
        "Audit events that were made.",
        (),
        lambda tally: [] if tally.audit_events is None else [((), tally.audit_events)],
    ),
    (
        CounterMetricFamily,
        "_audit_lost_events",
        "Audit events that a plugin of the apiserver's audit lost.",
        ("plugin",),
        lambda tally: [((plugin,), count) for plugin, count in tally.audit_lost.items()],
    ),
)
