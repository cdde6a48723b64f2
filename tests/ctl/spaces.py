"""Runs `ballastctl etcd space`, and asks etcdctl the same."""

import json
import re
import subprocess
import sys
from typing import Any

from click.testing import CliRunner, Result

from ballastctl.cli import main
from drills.filling import client
from drills.stack import EtcdCluster, tool
from kube_ballast.clients.etcd.types import Put

ROOT = "/space"
COMMAND = [sys.executable, "-c", "from ballastctl.cli import main; main()", "etcd", "space"]
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def put(etcd: EtcdCluster, pairs: list[tuple[bytes, bytes]]) -> None:
    with client(etcd) as one:
        for first in range(0, len(pairs), 100):
            one.txn((), [Put(*pair) for pair in pairs[first : first + 100]], (), timeout=10)


def space(etcd: EtcdCluster, *arguments: str, prefix: str = ROOT, endpoints: str | None = None) -> Result:
    where = endpoints or ",".join(etcd.endpoints)
    return CliRunner().invoke(main, ["etcd", "space", "--endpoints", where, "--fast", "--prefix", prefix, *arguments])


def report(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def etcdctl(etcd: EtcdCluster, *arguments: str) -> str:
    command = [tool("etcdctl"), "--endpoints", etcd.endpoints[0], *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def counted_by_etcdctl(etcd: EtcdCluster, *arguments: str) -> int:
    found = re.search(
        r'^"Count" : (\d+)$', etcdctl(etcd, "get", *arguments, "--count-only", "-w", "fields"), re.MULTILINE
    )
    assert found is not None
    return int(found[1])
