"""Takes one safeguard out of the program it runs in, to see whether the fault script notices."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, select

from ballast_remediator.config import StoreConfig
from ballast_remediator.contract import ClaimRequest
from ballast_remediator.engine import execution, judging
from ballast_remediator.store import postgresql, runs, schema, stops
from ballast_remediator.store.places import Place, SqliteFile
from ballast_remediator.store.writer import StoreUnavailable

WITHOUT: Final = "BALLAST_DRILL_WITHOUT"
"""The variable of the environment that names the safeguard."""


def put(place: object, name: str, value: object) -> None:
    """Puts ``value`` in the place of what is called ``name`` there."""
    assert hasattr(place, name), f"{place} has no {name} any more: this drill takes out nothing"
    setattr(place, name, value)


def fence() -> None:
    """Whoever lost a run may go on with it: any token is as good as the present one, and no lease is asked for.

    Both, since either of them alone keeps a zombie from acting.
    """

    def unfenced(operation: Callable[..., Any]) -> Callable[..., Any]:
        def with_present(connection: Connection, run_id: str, _: int, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - its own
            present = connection.execute(select(schema.runs.c.token).where(schema.runs.c.id == run_id)).scalar_one()
            return operation(connection, run_id, present, *args, **kwargs)

        return with_present

    for name in ("own", "intend", "checkpoint", "note", "advance"):
        put(runs, name, unfenced(getattr(runs, name)))
    put(execution.Context, "assure", lambda _: None)


def lock() -> None:
    """No run holds what others need."""

    def claim_request(**given: Any) -> ClaimRequest:  # noqa: ANN401 - whatever a request takes
        request = ClaimRequest(**given)
        alone = tuple(f"{request.run_id}/{name}" for name in request.locks)
        return replace(request, locks=alone, domains=tuple(f"{request.run_id}/{name}" for name in request.domains))

    put(judging, "ClaimRequest", claim_request)


def retry() -> None:
    """What the store does not take at once is let go of, and the run goes on as if it had been the first attempt."""
    as_written = execution.Context.record

    def once(context: execution.Context, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever is written
        try:
            return as_written(context, operation, *args, **kwargs)
        except StoreUnavailable:
            return () if operation is stops.intend else None

    put(execution.Context, "_patiently", lambda _, ask: ask())
    put(execution.Context, "record", once)


def fsync() -> None:
    """What was committed is in memory, and on the disk some time later."""
    as_configured: Any = StoreConfig.place

    def place(config: StoreConfig) -> Place:
        given: Place = as_configured.fget(config)
        if isinstance(given, SqliteFile):
            return replace(given, durable=False)
        return given

    put(StoreConfig, "place", property(place))
    put(postgresql, "_OPTIONS", postgresql._OPTIONS.replace("synchronous_commit=on", "synchronous_commit=off"))  # noqa: SLF001 - taken out


SAFEGUARDS: Final[Mapping[str, Callable[[], None]]] = {each.__name__: each for each in (fence, lock, retry, fsync)}


def take_out(name: str) -> None:
    """Nothing for an empty name."""
    if name:
        SAFEGUARDS[name]()
