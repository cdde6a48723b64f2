"""The compaction leaves the last minutes of history, so that watchers need not list everything anew."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, ask

NAME = "watchers_keep_up"


def watchers_keep_up(revision: int | None, words: str) -> Answer:
    """``revision`` is known to be old enough, or None; ``words`` say where it was looked for."""
    if revision is None:
        return ask(
            NAME,
            f"which revision is old enough is unknown ({words}). Compacting to the present one cuts every watch "
            f"that lags, and their clients list everything anew. If that is better than waiting, accept {NAME} by name",
        )
    return allow(NAME, words)
