"""Looking at a member that blinks: what cannot be told now is asked again before a run is given up for it."""

from collections.abc import Callable
from typing import Final, TypeVar

from ballast_remediator.contract import StepContext, StepFailed
from kube_ballast.analysis.words import duration
from kube_ballast.clients.errors import ClientError

PAUSE: Final = 0.5

T = TypeVar("T")


class Unknown(Exception):
    """It cannot be told now; the text says what."""


def patiently(look: Callable[[], T], context: StepContext, *, patience: float) -> T:
    """What ``look`` finds, asked again while it raises `Unknown` or a client's error.

    Raises:
        StepFailed: still not known after ``patience`` seconds; or whatever ``look`` itself concludes.
    """
    give_up = context.now() + patience
    while True:
        try:
            return look()
        except (Unknown, ClientError) as error:
            if context.now() > give_up:
                raise StepFailed(f"{error}, and was for {duration(patience)}") from error
        context.wait(PAUSE)
