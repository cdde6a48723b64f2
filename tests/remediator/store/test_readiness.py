"""A store that takes no writes is seen from outside, by probes and by Prometheus."""

from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from ballast_remediator.app import create_app
from ballast_remediator.store import inbox
from ballast_remediator.store.database import Store
from ballast_remediator.store.writer import StoreUnavailable
from tests.remediator.web.setting import RecordingEngine, make_site


def test_a_full_disk_is_told_until_a_write_succeeds(store: Store, tmp_path: Path) -> None:
    engine = RecordingEngine()
    client = create_app(make_site(tmp_path).config, engine=engine, store=store).test_client()

    def refuse(_: object) -> None:
        raise SQLAlchemyError("the disk is full")

    event.listen(store._engine, "commit", refuse)
    with pytest.raises(StoreUnavailable):
        store.write_together(inbox.accept, inbox.Arrival(b"", "test"))
    event.remove(store._engine, "commit", refuse)

    words = "the store refuses to write: the disk is full"
    for trouble in (None, words):  # the engine runs into the same thing after a while: that is one reason, not two
        engine.trouble = trouble
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json) == (503, {"ready": False, "reasons": [words]})
    assert "ballast_remediator_store_up 0.0" in client.get("/metrics").text

    engine.trouble = None
    store.write_together(inbox.accept, inbox.Arrival(b"", "test"))
    assert client.get("/readyz").status_code == 200
    assert "ballast_remediator_store_up 1.0" in client.get("/metrics").text
