"""What goes wrong before anything was counted: nobody there, no rights, mistakes in the command line."""

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ballastctl.cli import main
from drills.keyspace import objects
from drills.stack import Authority, EtcdCluster, Stack
from tests.ctl.spaces import etcdctl, put, report, space


def test_nobody_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = CliRunner().invoke(main, ["etcd", "space", "--endpoints", f"127.0.0.1:{closed.getsockname()[1]}"])
    assert (refused.exit_code, "refused" in refused.stderr, refused.stdout) == (3, True, "")


def test_somebody_else_there(url: str) -> None:
    refused = CliRunner().invoke(main, ["etcd", "space", "--endpoints", url])
    assert (refused.exit_code, "Is it an etcd's client port" in refused.stderr, refused.stdout) == (3, True, "")


def test_certificates_of_somebody_else(stack: Stack, tmp_path: Path) -> None:
    etcd = stack.etcd(tls=True)
    assert etcd.tls is not None
    files = ["--cacert", str(etcd.tls.ca), "--cert", str(etcd.tls.cert), "--key", str(etcd.tls.key)]
    assert space(etcd, *files, "-o", "json").exit_code == 0
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other").issue("other")
    for wrong in (
        [*files[:2], "--cert", str(other.cert), "--key", str(other.key)],
        ["--cacert", str(other.ca), *files[2:]],
    ):
        refused = space(etcd, *wrong)
        assert (refused.exit_code, "certificate" in refused.stderr, refused.stdout) == (1, True, "")


@pytest.fixture
def guarded(stack: Stack, tmp_path: Path) -> EtcdCluster:
    """An etcd with users: root, reader, who may read every key and nothing else, and part, who may not read all."""
    etcd = stack.etcd()
    put(etcd, [*objects(1), (b"/elsewhere/a", b"")])
    for command in (
        ("user", "add", "root:root"),
        ("user", "grant-role", "root", "root"),
        ("role", "add", "registry"),
        ("role", "grant-permission", "registry", "--from-key", "read", ""),
        ("user", "add", "reader:reader"),
        ("user", "grant-role", "reader", "registry"),
        ("role", "add", "pods"),
        ("role", "grant-permission", "pods", "--prefix=true", "read", "/registry/pods/"),
        ("user", "add", "part:part"),
        ("user", "grant-role", "part", "pods"),
        ("auth", "enable"),
    ):
        etcdctl(etcd, *command)
    for name in ("root", "reader", "part", "wrong"):
        (tmp_path / name).write_text(f"{name}\n")
    return etcd


def test_users_see_what_they_may(guarded: EtcdCluster, tmp_path: Path) -> None:
    def as_user(name: str, password: str) -> Result:
        arguments = ("-o", "json", "--user", name, "--password-file", str(tmp_path / password))
        return space(guarded, *arguments, prefix="/registry")

    everything = report(as_user("root", "root"))
    assert [each["name"] for each in everything["foreign"]] == ["/elsewhere"]
    wrong = as_user("root", "wrong")
    assert (wrong.exit_code, "authentication failed" in wrong.stderr, wrong.stdout) == (1, True, "")
    nobody = space(guarded)
    assert (nobody.exit_code, nobody.stdout) == (1, "")
    part = as_user("part", "part")
    assert (part.exit_code, "permission denied" in part.stderr, part.stdout) == (1, True, "")
    # etcd 3.6 gives its status to every user, 3.5 to root alone.
    reader, sees_all = as_user("reader", "reader"), everything["etcd"]["members"][0]["version"] >= "3.6"
    assert reader.exit_code == (0 if sees_all else 1), reader.output
    assert not sees_all or report(reader)["keys"] == everything["keys"]
    assert sees_all or ("permission denied" in reader.stderr, reader.stdout) == (True, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--endpoints", "ftp://x"),
        ("--endpoints", ","),
        ("--user", "root"),
        ("--etcd-cluster", "x"),
        ("--cert", __file__),
        ("--config", __file__),
        ("--config", __file__, "--cacert", __file__),
        ("--prefix", "/"),
        ("--watch", "soon"),
        ("--largest", "-1"),
    ],
)
def test_mistakes_in_the_command_line(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(main, ["etcd", "space", *arguments]).exit_code == 2
