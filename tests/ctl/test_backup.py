"""ballastctl backup and restore, as a person types them, beside a remediator that runs."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from ballast_remediator.store import reading, stops, verifying
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import audit
from ballastctl.cli import main
from tests.remediator.web.setting import Site, make_site, seed, serving

Ctl = Callable[..., Result]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.fixture
def other(tmp_path: Path) -> Site:
    """Another host, whose remediator was never started."""
    folder = tmp_path / "other"
    folder.mkdir()
    return make_site(folder)


def test_out_of_one_remediator_that_runs_into_another_one(site: Site, store: Store, run_id: str, other: Site) -> None:
    file = site.folder / "backup"
    said = call("backup", file, "--config", site.file)
    head = store.read(verifying.head)
    assert said.exit_code == 0, said.output
    assert said.stdout.endswith(f"the audit's head, to write down elsewhere: {head}\n")
    checked = call("audit", "verify", "--backup", file, "--head", head)
    assert checked.exit_code == 0
    assert f"head {head} is in the chain" in checked.stdout
    restored = call("restore", file, "--config", other.file)
    assert restored.exit_code == 0, restored.output
    assert "A kill switch is on for everything" in restored.stdout
    with Store(other.config.store.place) as there:
        assert there.read(reading.run, run_id) is not None
        assert len(there.read(stops.in_force)) == 1


def test_beside_a_remediator_of_another_process(site: Site, tmp_path: Path) -> None:
    with Store(site.config.store.place) as store:
        seed(store)
    with serving(site):
        file = tmp_path / "backup"
        command = [sys.executable, "-c", "from ballastctl.cli import main; main()"]
        taken = subprocess.run(
            [*command, "backup", str(file), "--config", str(site.file)], check=False, capture_output=True, timeout=60
        )
        assert taken.returncode == 0, taken.stderr
        refused = call("restore", file, "--config", site.file)
        assert refused.exit_code == 1
        assert "is in use by process" in refused.stderr
        assert "stop the remediator first" in refused.stderr


def test_a_store_without_a_remediator(site: Site, tmp_path: Path) -> None:
    with Store(site.config.store.place) as store:
        seed(store)
    assert call("backup", tmp_path / "backup", "--config", site.file).exit_code == 0


def test_an_audit_that_is_broken_in_the_backup(site: Site, store: Store, run_id: str) -> None:
    store.write(lambda c: c.execute(update(audit).where(audit.c.run_id == run_id, audit.c.seq == 2).values(words="x")))
    call("backup", site.folder / "backup", "--config", site.file)
    said = call("audit", "verify", "--backup", site.folder / "backup")
    assert said.exit_code == 1
    assert said.stdout.startswith("BROKEN at entry 2 (edited)")


@pytest.mark.usefixtures("store")
def test_what_goes_wrong_has_a_code_and_words(site: Site, other: Site, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    said = call("backup", tmp_path / "none" / "backup", "--config", site.file)
    assert (said.exit_code, "No such file or directory" in said.stderr) == (3, True)
    said = call("backup", file, "--config", other.file)
    assert said.exit_code == 3
    assert "remediator.db is not there" in said.stderr
    site.file.write_text("nonsense: 1\n")
    said = call("backup", file, "--config", site.file)
    assert said.exit_code == 2
    assert "remediator.yaml:1: " in said.stderr
    file.write_text("this is no backup")
    for arguments in (("restore", file, "--config", other.file), ("audit", "verify", "--backup", file)):
        said = call(*arguments)
        assert said.exit_code == 1
        assert "cannot be read as a backup" in said.stderr


def test_the_help_says_how_it_ends() -> None:
    for command in ("backup", "restore"):
        assert "Exit codes: 0 done; 1 refused, and nothing was changed" in call(command, "--help").stdout
