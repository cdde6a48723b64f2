"""A relay between an apiserver and its etcd that makes their connections sick, one way or another, while it runs.

with Relay(member.endpoint, tls=RelayTLS(server, client)) as relay:
    ...                          # an apiserver with --etcd-servers=relay.url
    relay.set(Fault(Mode.MUTE))
    relay.set(PASS)
"""

from drills.relay.modes import PASS, Fault, Mode
from drills.relay.relay import Relay, RelayTLS

__all__ = ["PASS", "Fault", "Mode", "Relay", "RelayTLS"]
