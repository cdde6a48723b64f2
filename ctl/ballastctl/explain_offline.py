"""Judges what `ballastctl policy explain --record` kept, with another policy and an empty ledger."""

from pydantic import TypeAdapter

from ballast_remediator.engine.recording import Unreadable, judge_again, read
from ballast_remediator.policy import Policy
from ballast_remediator.web.explain import view
from kube_ballast.clients.remediator_types import Explanation, Explanations

__all__ = ["Unreadable", "explain"]

_ONE = TypeAdapter(Explanation)


def explain(recorded: bytes, policy: Policy) -> Explanations:
    """What each recorded alert would have come to with ``policy``. Raises `Unreadable`."""
    explained = [judge_again(one, policy) for one in read(recorded)]
    return Explanations(tuple(_ONE.validate_python(view(one).model_dump()) for one in explained), None)
