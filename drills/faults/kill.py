"""`make faults`: the remediator is killed at random moments of a run on a real etcd, and nothing may be lost.

At each point etcd is filled until NOSPACE, an alert is posted, and the remediator is killed -9 some random time
later, once or twice, while further alerts keep arriving. What must hold afterwards: `drills.faults.invariants`.
"""

import argparse
import hashlib
import json
import random
import secrets
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ballast_remediator.contract import FINAL
from ballast_remediator.store import reading
from ballast_remediator.store.database import Store
from drills.faults.invariants import defragmentations, story_violations, two_at_once
from drills.filling import client, fill
from drills.stack import Scrape, Service, Stack, mountpoint
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.http import HttpClient
from kube_ballast.clients.prometheus import Prometheus
from kube_ballast.clients.remediator import Remediator
from kube_ballast.config import HttpConfig

MIB: Final = 1024 * 1024
QUOTA: Final = 16 * MIB
OLD_VALUE: Final = bytes(512 * 1024)
OLD_WRITES: Final = 20
KINDS: Final = ("snapshot", "compact", "defragment", "disarm", "test-write", "watch-alarm")
RUN_SECONDS: Final = 5.0
"""A run takes about this long."""
AFTER_START: Final = 0.3
"""Most steps are over sooner than this."""
FINAL_WITHIN: Final = 120.0
POLL: Final = 0.1
TIMEOUT: Final = 3.0
ACCEPTED: Final = 202
RULE: Final = {
    "runbook": "etcd-free-space",
    "match": {"cluster": "here"},
    "mode": "auto",
    "budget": {"runs": 1_000_000},
    "cooldown": "1ms",
}
"""One etcd fails again and again: what holds this back in earnest is not what is tried here."""
LABELS: Final = {"ballast_runbook": "etcd-free-space", "etcd_cluster": "main"}
ALERT: Final = {"alert": "EtcdFreeSpaceNeeded", "expr": "vector(1)", "labels": LABELS}
"""It always fires: whether there is something to do is the world's answer."""
SETTINGS: Final = {"compact_keep": "1s", "rearm_watch": "1s", "patience": "30s", "cluster_restored_within": "5s"}


@dataclass(slots=True)
class Counts:
    """What happened, and what must not have."""

    points: int = 0
    kills: int = 0
    accepted: int = 0
    defragmentations: int = 0
    states: Counter[str] = field(default_factory=Counter)
    killed_after: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


class Place:
    """One etcd, one store and one remediator, used for every point."""

    def __init__(self, stack: Stack) -> None:
        self.etcd = stack.etcd(members=3, quota_bytes=QUOTA)
        self.etcd_logs = {member.name: stack.logs / f"{member.name}.log" for member in self.etcd.members}
        self.folder = stack.data("kill")
        self._write_credentials()
        self.remediator = self._start(stack)
        self._ingest = HttpClient(HttpConfig(url=self.remediator.url, bearer_token_file=self.folder / "ingest"))
        self._viewer = Remediator(HttpConfig(url=self.remediator.url, bearer_token_file=self.folder / "viewer"))
        self.accepted: set[str] = set()
        self.kills: list[float] = []

    def _write_credentials(self) -> None:
        entries = []
        for role in ("ingest", "viewer"):
            token = secrets.token_hex(32)
            (self.folder / role).write_text(token)
            entries.append({"name": role, "role": role, "sha256": hashlib.sha256(token.encode()).hexdigest()})
        (self.folder / "tokens.yaml").write_text(json.dumps({"tokens": entries}))
        (self.folder / "policy.yaml").write_text(json.dumps({"rules": [RULE]}))

    def _start(self, stack: Stack) -> Service:
        node = stack.node_exporter()
        alertmanager = stack.alertmanager(config={"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]})
        prometheus = stack.prometheus(
            alertmanagers=[alertmanager.url],
            scrape=[Scrape(job="node-exporter", targets=[node.address], labels={"instance": "here"})],
            rules=[json.dumps({"groups": [{"name": "drill", "rules": [ALERT]}]})],
            scrape_interval="1s",
            evaluation_interval="1s",
        )
        _until_known(prometheus.url)
        disk = {"instance": "here", "mountpoint": mountpoint(self.folder)}
        members = [{**member.model_dump(exclude_none=True), "disk": disk} for member in self.etcd.config.members]
        return stack.remediator(
            config={
                "store": {"path": self.folder / "remediator.db"},
                "tokens_file": self.folder / "tokens.yaml",
                "policy_file": self.folder / "policy.yaml",
                "snapshots": {"directory": self.folder / "snapshots"},
                "clusters": {
                    "here": {
                        "etcd": [{"members": members}],
                        "prometheus": {"url": prometheus.url},
                        "alertmanagers": [{"url": alertmanager.url}],
                    }
                },
                "runbooks": {"etcd-free-space": SETTINGS},
                "engine": {"reopen_after": "1s"},
            }
        )

    def post(self, fingerprint: str) -> None:
        """Posts one alert. Answered 202, it is a promise to be kept; otherwise Alertmanager would try again."""
        with suppress(ClientError):
            answer = self._ingest.request(
                "POST", "/api/v1/alertmanager", timeout=TIMEOUT, body=_notification(fingerprint)
            )
            if answer.status == ACCEPTED:
                self.accepted.add(fingerprint)

    def kill(self) -> None:
        self.kills.append(time.time())
        self.remediator.process.kill()

    def fill(self) -> None:
        """Up to NOSPACE; on the way the apiserver's note of a revision that may be compacted to."""
        # Still full where the run before failed: then this point's run takes over what it left.
        with client(self.etcd) as one, suppress(ClientError):
            old = [one.put(b"/registry/configmaps/drill/old", OLD_VALUE, timeout=TIMEOUT) for _ in range(OLD_WRITES)]
            one.put(b"compact_rev_key", str(old[-1].revision).encode(), timeout=TIMEOUT)
        fill(self.etcd, within=60.0)

    def began(self, kind: str, point: int) -> bool:
        """Whether a step of that kind has begun in the run that one of this point's alerts opened."""
        with suppress(ClientError):
            for summary in self._viewer.runs(limit=1, timeout=TIMEOUT):
                run = self._viewer.run(summary.id, timeout=TIMEOUT)
                mine = run.alert.labels.get("part", "").startswith(f"{point}-")
                return mine and any(step.kind == kind and step.intended_at is not None for step in run.steps)
        return False

    def all_final(self) -> bool:
        """Whether there are runs and none of them is open."""
        with suppress(ClientError):
            runs = self._viewer.runs(limit=5, timeout=TIMEOUT)
            return bool(runs) and all(run.state in FINAL for run in runs)
        return False


def _until_known(prometheus: str) -> None:
    """Free disk that is unknown would be a person's decision; an alert that does not fire is not answered."""
    client = Prometheus(HttpConfig(url=prometheus))
    give_up = time.monotonic() + FINAL_WITHIN
    known = "node_filesystem_avail_bytes and on () ALERTS"
    while not client.query(known, timeout=TIMEOUT) and time.monotonic() < give_up:
        time.sleep(POLL)


def _notification(fingerprint: str) -> bytes:
    labels = {"alertname": ALERT["alert"], **LABELS}
    alert = {
        "status": "firing",
        "labels": {**labels, "part": fingerprint},
        "annotations": {},
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": fingerprint,
    }
    return json.dumps(
        {
            "version": "4",
            "groupKey": "{}",
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "ballast",
            "groupLabels": {},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://alertmanager",
            "alerts": [alert],
        }
    ).encode()


def point(place: Place, number: int, chance: random.Random) -> None:
    """Fill, alert, kill once or twice at random moments, restart, and wait until every run is final."""
    place.fill()
    place.post(f"{number}-first")
    for round_ in range(chance.choice((1, 1, 1, 2))):
        # Every other kill aims at a step: most of a run is waiting, and only effects can be half-done.
        aim, give_up = chance.choice((None, chance.choice(KINDS))), time.monotonic() + RUN_SECONDS
        moment = chance.uniform(0.0, RUN_SECONDS if aim is None else AFTER_START)
        while aim is not None and not place.began(aim, number) and time.monotonic() < give_up:
            time.sleep(POLL / 5)
        until = time.monotonic() + moment
        while time.monotonic() < until:
            place.post(f"{number}-{round_}-{secrets.token_hex(4)}")
            time.sleep(min(POLL, max(0.0, until - time.monotonic())))
        place.kill()
        place.remediator.process.restart()
    place.post(f"{number}-last")
    give_up = time.monotonic() + FINAL_WITHIN
    while not place.all_final() and time.monotonic() < give_up:
        time.sleep(POLL)


def judge(place: Place, counts: Counts) -> None:
    """Counts what is in the store and in etcd's logs once everything has ended."""
    counts.kills, counts.accepted = len(place.kills), len(place.accepted)
    with Store(place.folder / "remediator.db") as store:
        runs = store.read(reading.recent_runs, limit=100_000)
        timelines = {run.id: store.read(reading.timeline, run.id) for run in runs}
        lost = place.accepted - store.read(reading.known_alerts)
    counts.states.update(run.state for run in runs)
    for run in runs:
        counts.violations.extend(story_violations(run, timelines[run.id]))
    counts.violations.extend(f"alert {fingerprint} was answered 202 and is lost" for fingerprint in sorted(lost))
    seen = [each for name, log in place.etcd_logs.items() for each in defragmentations(name, log)]
    counts.defragmentations = len(seen)
    counts.violations.extend(two_at_once(seen))
    if not seen:
        counts.violations.append("etcd's logs show no defragmentation at all: they were not understood")
    entries = sorted((entry for timeline in timelines.values() for entry in timeline), key=lambda entry: entry.seq)
    for kill in place.kills:
        before = [entry for entry in entries if entry.at <= kill]
        last = before[-1] if before else None
        kind = "nothing" if last is None else last.data.get("kind", last.event)
        counts.killed_after[f"{kind} {last.event if last is not None and 'kind' in last.data else ''}".strip()] += 1


def report(counts: Counts, seed: int, seconds: float) -> None:
    """The table that a closing note quotes."""
    print(f"\nseed {seed}: {counts.points} points, {counts.kills} kills in {seconds:.0f} s")
    print(f"  {'alerts answered 202':<34}{counts.accepted:>6}")
    print(f"  {'defragmentations, by etcd' + chr(39) + 's logs':<34}{counts.defragmentations:>6}")
    for state, count in sorted(counts.states.items()):
        print(f"  {'runs ' + state:<34}{count:>6}")
    for where, count in counts.killed_after.most_common():
        print(f"  {'killed after ' + where:<34}{count:>6}")
    print(f"  {'violations':<34}{len(counts.violations):>6}")
    for violation in counts.violations:
        print(f"    {violation}")


def run(points: int, seed: int | None) -> Counts:
    """Runs so many points; ``seed`` repeats the moments of an earlier run."""
    seed = secrets.randbelow(10**6) if seed is None else seed
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    counts = Counts()
    began = time.monotonic()
    print(f"seed {seed}: killing the remediator at {points} points", flush=True)
    with Stack() as stack:
        place = Place(stack)
        for number in range(1, points + 1):
            point(place, number, chance)
            counts.points = number
            if number % 5 == 0 or number == points:
                print(f"  {number} points after {time.monotonic() - began:.0f} s", flush=True)
        place.remediator.process.stop(within=10.0)
        judge(place, counts)
        report(counts, seed, time.monotonic() - began)
        if counts.violations:
            stack.fail()
            print(f"logs: {stack.logs}")
    return counts


def main() -> int:
    """Exit code 1 when an invariant was violated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=50, help="how many (default: 50)")
    parser.add_argument("--seed", type=int, default=None, help="repeats the moments of an earlier run")
    options = parser.parse_args()
    return 1 if run(options.points, options.seed).violations else 0


if __name__ == "__main__":
    sys.exit(main())
