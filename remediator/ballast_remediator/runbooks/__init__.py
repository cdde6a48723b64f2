"""The runbooks that may run: a line in `APPROVED` is part of the approval, the digest in runbooks.lock the rest."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ballast_remediator.config import Config
from ballast_remediator.connections import Connections
from ballast_remediator.contract import Runbook
from ballast_remediator.runbooks.apiserver_cut_etcd_connections import CutEtcdConnections
from ballast_remediator.runbooks.apiserver_restart import ApiserverRestart
from ballast_remediator.runbooks.etcd_defrag import EtcdDefrag
from ballast_remediator.runbooks.etcd_free_space import EtcdFreeSpace

APPROVED = (EtcdFreeSpace, EtcdDefrag, CutEtcdConnections, ApiserverRestart)


def build(connections: Connections, config: Config) -> Mapping[str, Runbook[Any]]:
    """The approved runbooks by name, ready to run."""
    return MappingProxyType({kind.name: kind.configured(connections, config) for kind in APPROVED})
