"""Shares of the quota that the etcd runbooks decide by."""

from typing import Final

WELL_UNDER: Final = 0.90
"""The alarm is lifted only when every database is smaller than this share of its quota: above it, the next
burst would arm it again."""

ENOUGH: Final = 0.80
"""A compaction that leaves more than this in use was not enough; then the garbage is younger than what it kept."""
