"""What only one run of a cluster may disturb at a time."""

from typing import Final

CONTROL_PLANE: Final = "control-plane"
"""The one lock of a cluster that whoever disturbs etcd or an apiserver has to hold."""
