"""What people can be told of. The configuration names them, and the store writes them."""

from enum import StrEnum
from typing import Final


class NoticeKind(StrEnum):
    """What people are told of: the audit's name for it."""

    AWAITING_APPROVAL = "awaiting_approval"
    APPROVAL_UNSEEN = "approval_unseen"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    OUTCOME_UNKNOWN = "outcome_unknown"
    BRAKE_SET = "brake_set"
    KILL_SWITCH_SET = "kill_switch_set"
    KILL_SWITCH_LIFTED = "kill_switch_lifted"
    HEARTBEAT_MISSING = "heartbeat_missing"
    HEARTBEAT_BACK = "heartbeat_back"
    AUDIT_BROKEN = "audit_broken"
    AUDIT_HEAD = "audit_head"


ROUTINE: Final = frozenset({NoticeKind.SUCCEEDED})
"""What is sent only to whoever asks for it."""
