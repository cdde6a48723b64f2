"""What the real runbooks need around them: an etcd that gets full, and who knows of its alerts."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from drills.filling import client, fill
from drills.stack import Scrape, Stack, mountpoint
from kube_ballast.clients.alertmanager import Alertmanager
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.prometheus import Prometheus
from kube_ballast.config import HttpConfig

MIB: Final = 1024 * 1024
QUOTA: Final = 16 * MIB
OLD_VALUE: Final = bytes(512 * 1024)
OLD_WRITES: Final = 20
TIMEOUT: Final = 3.0
KNOWN_WITHIN: Final = 60.0
POLL: Final = 0.1
LABELS: Final = {"ballast_runbook": "etcd-free-space", "etcd_cluster": "main"}
ALERT: Final = {"alert": "EtcdFreeSpaceNeeded", "expr": "vector(1)", "labels": LABELS}
"""It always fires: whether there is something to do is the world's answer."""


class Surroundings:
    """Three members of etcd with a disk each, a Prometheus, an Alertmanager."""

    def __init__(self, stack: Stack) -> None:
        self.etcd = stack.etcd(members=3, quota_bytes=QUOTA)
        self.logs: Mapping[str, Path] = {member.name: stack.logs / f"{member.name}.log" for member in self.etcd.members}
        self._folder = stack.folder
        node = stack.node_exporter()
        self._alertmanager = stack.alertmanager(
            config={"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
        )
        self._prometheus = stack.prometheus(
            alertmanagers=[self._alertmanager.url],
            scrape=[Scrape(job="node-exporter", targets=[node.address], labels={"instance": "here"})],
            rules=[json.dumps({"groups": [{"name": "drill", "rules": [ALERT]}]})],
            scrape_interval="1s",
            evaluation_interval="1s",
            flags={"rules.alert.resend-delay": "1s"},  # the first time it may not know its Alertmanager yet
        )
        self._wait_until_known()

    def config(self) -> Mapping[str, object]:
        """As the remediator's configuration has a cluster."""
        disk = {"instance": "here", "mountpoint": mountpoint(self._folder)}
        members = [
            {**member.model_dump(mode="json", exclude_none=True), "disk": disk} for member in self.etcd.config.members
        ]
        return {
            "etcd": [{"members": members}],
            "prometheus": {"url": self._prometheus.url},
            "alertmanagers": [{"url": self._alertmanager.url}],
        }

    def fill(self) -> None:
        """Up to NOSPACE; on the way the apiserver's note of a revision that may be compacted to."""
        # Still full where the run before failed: then this point's run takes over what it left.
        with client(self.etcd) as one, suppress(ClientError):
            old = [one.put(b"/registry/configmaps/drill/old", OLD_VALUE, timeout=TIMEOUT) for _ in range(OLD_WRITES)]
            one.put(b"compact_rev_key", str(old[-1].revision).encode(), timeout=TIMEOUT)
        with suppress(TimeoutError):  # a run that goes on frees as fast as this fills
            fill(self.etcd, within=30.0)

    def _wait_until_known(self) -> None:
        """Free disk that is unknown would be a person's decision; an alert that does not fire is not answered."""
        asked = Prometheus(HttpConfig(url=self._prometheus.url))
        give_up = time.monotonic() + KNOWN_WITHIN
        known = "node_filesystem_avail_bytes and on () ALERTS"
        alertmanager = Alertmanager(HttpConfig(url=self._alertmanager.url))
        while time.monotonic() < give_up:
            if asked.query(known, timeout=TIMEOUT) and alertmanager.alerts(timeout=TIMEOUT):
                return
            time.sleep(POLL)
