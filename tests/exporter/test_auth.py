"""Who is admitted while the web configuration is being rewritten."""

import base64
from pathlib import Path

import bcrypt
import pytest
from structlog.testing import capture_logs

from ballast_exporter.auth import Gate


def users(**passwords: str) -> str:
    lines = (
        f"  {user}: {bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n"
        for user, password in passwords.items()
    )
    return "basic_auth_users:\n" + "".join(lines)


def status(gate: Gate, credentials: str | None = None) -> int:
    """What a scrape is answered; 200 where the gate lets it pass."""
    environ = {"PATH_INFO": "/metrics"}
    if credentials is not None:
        environ["HTTP_AUTHORIZATION"] = "Basic " + base64.b64encode(credentials.encode()).decode()
    refusal = gate.admit(environ)
    return 200 if refusal is None else refusal.status


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "web.yml"
    path.write_text(users(prometheus="right"))
    return path


@pytest.mark.parametrize("content", ["", "\n", "basic_auth_users: {}\n"])
def test_a_file_that_lost_its_users_opens_nothing(file: Path, content: str) -> None:
    gate = Gate(file)
    file.write_text(content)
    with capture_logs() as logs:
        assert [status(gate), status(gate), status(gate, "prometheus:right")] == [401, 401, 200]
    (said,) = logs
    assert (said["log_level"], said["file"]) == ("error", str(file))
    assert "restart" in said["event"]


def test_what_is_written_after_the_truncation_is_used(file: Path) -> None:
    gate = Gate(file)
    file.write_text("")
    assert status(gate, "prometheus:right") == 200
    file.write_text(users(grafana="other"))
    assert [status(gate), status(gate, "prometheus:right"), status(gate, "grafana:other")] == [401, 401, 200]


def test_a_file_cut_off_within_a_character_changes_nothing(file: Path) -> None:
    gate = Gate(file)
    file.write_bytes("basic_auth_users:\n  müller".encode()[:-5])
    with capture_logs() as logs:
        assert [status(gate), status(gate, "prometheus:right")] == [401, 200]
    assert [said["log_level"] for said in logs] == ["error"]


def test_a_gate_that_starts_without_users_is_open_until_the_file_names_some(file: Path) -> None:
    file.write_text("")
    gate = Gate(file)
    assert status(gate) == 200
    file.write_text(users(prometheus="right"))
    assert [status(gate), status(gate, "prometheus:right")] == [401, 200]
