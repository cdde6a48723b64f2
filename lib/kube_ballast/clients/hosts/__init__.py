"""What is done on a control plane's hosts, by Ansible and nobody else.

    hosts = Hosts(config)
    sight = hosts.connections(Apiserver("cp-1", listens="10.0.0.1:6443"))     # the dry run: nothing is cut
    hosts.cut(apiserver, sight.process, sight.connections)

Playbooks lie in ``playbooks``; values reach them as variables, and programs as arguments of their own, never as a
shell's text. Ansible runs as a process of its own, for the time of one playbook: it is large, and may hang.
"""

from kube_ballast.clients.hosts.client import Apiserver, Hosts
from kube_ballast.clients.hosts.restart import Restart, RestartMethod
from kube_ballast.clients.hosts.types import Busy, CannotCut, HostFailed, Process, ProcessGone, Sight

__all__ = [
    "Apiserver",
    "Busy",
    "CannotCut",
    "HostFailed",
    "Hosts",
    "Process",
    "ProcessGone",
    "Restart",
    "RestartMethod",
    "Sight",
]
