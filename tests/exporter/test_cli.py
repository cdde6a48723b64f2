"""The command: what it refuses, and in which words."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ballast_exporter.cli import main
from drills.stack import Authority

GOOD = "etcd:\n  - members: [{endpoint: http://127.0.0.1:2379}]\n"
STALL = GOOD + "apiservers: {urls: [https://10.0.0.1:6443]}\ncollectors:\n  grpc_stall: {enabled: true, "


def check(folder: Path, text: str, *arguments: str) -> Result:
    file = folder / "exporter.yaml"
    file.write_text(text)
    return CliRunner().invoke(main, ["--config", str(file), "--check-config", *arguments])


def test_a_good_configuration_is_said_to_be_good(tmp_path: Path) -> None:
    result = check(tmp_path, GOOD)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "no mistake found; collectors: etcd_quota, etcd_keyspace" in result.stdout


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("etc: []\n" + GOOD, 1, "etc: unknown key"),
        (GOOD + "listen: 9790\n", 3, "listen: Input should be a valid string"),
        (GOOD + "listen: localhost\n", 3, "is no address of the form HOST:PORT"),
        (GOOD + "listen: '::1:9790'\n", 3, "an IPv6 address, and nothing else, is written in brackets"),
        (GOOD + "listen: 127.0.0.1:99999\n", 3, "is no address of the form HOST:PORT"),
        (GOOD + "web_config_file: nowhere.yml\n", 3, "there is no file nowhere.yml"),
        (GOOD + "log:\n  format: xml\n", 4, "log.format: Input should be 'logfmt' or 'json'"),
        (GOOD + "collectors:\n  etcd_quota: {interval: soon}\n", 4, "'soon' is no duration"),
        (GOOD + "collectors:\n  etcd_keyspace: {keys_per_second: 1}\n", 4, "greater than or equal to 100"),
        (GOOD + "collectors:\n  etcd_keyspace: {exact_bytes: 3 lots}\n", 4, "could not interpret byte unit"),
        (GOOD + "collectors:\n  etcd_quota: {interval: 5s, deadline: 6s}\n", 4, "deadline (6 s) is longer than the"),
        (GOOD + "collectors:\n  apiserver_requests: {top: 9}\n", 3, "list the apiservers under `apiservers`"),
        (GOOD + "apiservers:\n  urls: [https://a, https://a/x]\n", 4, "the same address stands twice"),
        (GOOD + "apiservers:\n  tls: {}\n", 3, "either list the apiservers in urls, or say in kubernetes"),
        (STALL + "uses: {'10.0.0.1:6443': []}}\n", 4, "uses: 10.0.0.1:6443: no member is listed"),
        (STALL + "uses: {'10.0.0.1:6443': ['http://localhost:2379']}}\n", 4, "is none of the first etcd's `members`"),
        (GOOD + "collectors:\n  etcd: {}\n", 4, "collectors.etcd: unknown key"),
        (GOOD + "  - members: [{endpoint: http://127.0.0.1:2380}]\n", 1, "two etcds have the same name"),
        ("etcd: []\n", 1, "etcd: needs at least 1, has 0"),
        ("etcd:\n  - members:\n    - endpoint: 10.0.0.1:2379\n", 3, "is no URL of the form"),
        (GOOD + "    tls:\n      ca: /nowhere/ca.crt\n", 4, "there is no file /nowhere/ca.crt"),
        ("listen: [\n", 2, "is no valid YAML"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_reason(tmp_path: Path, text: str, line: int, reason: str) -> None:
    result = check(tmp_path, text)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"{tmp_path}/exporter.yaml:{line}: " in result.stderr
    assert reason in result.stderr


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    result = check(tmp_path, "listen: nowhere\nlog: {level: loud}\n" + GOOD)
    assert len(result.stderr.splitlines()) == 2


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--config", str(tmp_path / "none.yaml")])
    assert result.exit_code == 2
    assert "none.yaml: cannot be read: No such file or directory" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--web.listen-address", "here"), "is no address of the form HOST:PORT"),
        (("--web.config.file", "nowhere.yml"), "nowhere.yml: cannot be read: No such file or directory"),
        (("--collectors", "etcd_quota,censuses"), "no collector is called censuses; there are: etcd_quota"),
        (
            ("--collectors", "etcd_quota,apiserver_requests"),
            "apiserver_requests: the configuration names nobody",
        ),
        (("--collectors", ""), "no collector is enabled"),
    ],
)
def test_flags_are_checked_too(tmp_path: Path, arguments: tuple[str, ...], reason: str) -> None:
    result = check(tmp_path, GOOD, *arguments)
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.split())


def test_a_flag_enables_what_the_file_disables(tmp_path: Path) -> None:
    disabled = GOOD + "collectors: {etcd_quota: {enabled: false}, etcd_keyspace: {enabled: false}}\n"
    assert check(tmp_path, disabled).exit_code == 2
    assert check(tmp_path, disabled, "--collectors", "etcd_quota").exit_code == 0


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("basic_auth_users:\n  bob: secret\n", 2, "basic_auth_users.bob: is no bcrypt hash"),
        ("http_server_config:\n  http2: true\n", 1, "HTTP/2 and response headers cannot be configured"),
        ("tls_server_config:\n  cert_file: a\n  key_file: b\n", 2, "cert_file: there is no file"),
        ("tls_server_config:\n  cert_file: a\n", 1, "key_file: is required and missing"),
        (
            "tls_server_config:\n  cert_file: a\n  key_file: b\n  client_auth_type: RequestClientCert\n",
            4,
            "Input should be '', 'NoClientCert' or 'RequireAndVerifyClientCert'",
        ),
        ("tls_server_config:\n  cert_file: a\n  key_file: b\n  min_version: TLS10\n", 4, "'TLS12' or 'TLS13'"),
        (
            "tls_server_config:\n  cert_file: a\n  key_file: b\n  cipher_suites: [x]\n",
            1,
            "cipher_suites: is not supported",
        ),
        ("tls_server_config:\n  cert_file: a\n  key_file: b\n  client_ca_file: c\n", 1, "belong together"),
        ("user: me\n", 1, "user: unknown key"),
    ],
)
def test_a_web_configuration_we_cannot_keep_is_refused(tmp_path: Path, text: str, line: int, reason: str) -> None:
    web = tmp_path / "web.yml"
    web.write_text(text)
    result = check(tmp_path, GOOD, "--web.config.file", str(web))
    assert result.exit_code == 2
    assert f"{web}:{line}: " in result.stderr
    assert reason in result.stderr


def test_a_key_that_does_not_fit_its_certificate_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    web = tmp_path / "web.yml"
    web.write_text(f"tls_server_config:\n  cert_file: {one.cert}\n  key_file: {other.key}\n")
    result = check(tmp_path, GOOD, "--web.config.file", str(web))
    assert result.exit_code == 2
    assert f"{web}:2: cert_file and key_file cannot be used: " in result.stderr


def test_an_empty_web_configuration_is_one_without_tls_and_users(tmp_path: Path) -> None:
    web = tmp_path / "web.yml"
    web.write_text("\n")
    assert check(tmp_path, GOOD, "--web.config.file", str(web)).exit_code == 0
