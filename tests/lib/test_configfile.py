from pathlib import Path

import pytest

from kube_ballast.config import Duration, EtcdConfig, HttpConfig, Model
from kube_ballast.configfile import ConfigError, load


class Waiting(Model):
    interval: Duration = 30.0


def write(folder: Path, text: str) -> Path:
    path = folder / "ballast.yaml"
    path.write_text(text)
    return path


def mistakes(path: Path, model: type[Model] = EtcdConfig) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, model)
    return [str(problem).removeprefix(str(path)) for problem in caught.value.problems]


def test_a_whole_configuration(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hush\n")
    config = load(
        write(
            tmp_path,
            f"""
name: events
members:
  - endpoint: https://10.0.0.1:2379/
    metrics_url: http://127.0.0.1:2381
    disk: {{instance: "10.0.0.1:9100", mountpoint: /var/lib/etcd}}
  - endpoint: https://[fd00::2]:2379
auth: {{username: ballast, password_file: {secret}}}
""",
        ),
        EtcdConfig,
    )
    first, second = config.members
    assert (first.endpoint, first.http_url) == ("https://10.0.0.1:2379", "http://127.0.0.1:2381")
    assert second.http_url == "https://[fd00::2]:2379"
    assert config.auth is not None
    assert config.auth.password() == "hush"


def test_every_mistake_has_its_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """members:
  - endpoint: http://a:1
    bogus: 1
  - endpoint: [1]
name: ""
tls:
  ca: /nope.pem
""",
    )
    assert sorted(mistakes(path)) == [
        ":3: members.0.bogus: unknown key",
        ":4: members.1.endpoint: Input should be a valid string",
        ":5: name: String should have at least 1 character",
        ":7: tls.ca: there is no file /nope.pem",
    ]


def test_a_wrong_entry_does_not_make_its_list_too_short(tmp_path: Path) -> None:
    assert mistakes(write(tmp_path, "members:\n  - endpoint: nope\n")) == [
        ":2: members.0.endpoint: 'nope' is no URL of the form http(s)://HOST[:PORT][/PATH]"
    ]
    assert mistakes(write(tmp_path, "members: []\n")) == [":1: members: needs at least 1, has 0"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ": is empty"),
        ("# only a comment\n", ": is empty"),
        ("- a\n", ":1: should be a mapping of keys to values"),
        ("just words\n", ":1: should be a mapping of keys to values"),
        ("name: b\n", ":1: members: is required and missing"),
        ("members: 5\n", ":1: members: should be a list"),
        ("members: [5]\n", ":1: members.0: should be a mapping of keys to values"),
        (
            "members:\n  - endpoint: http://a:1\n  - endpoint: http://a:1\n",
            ":1: members: the same endpoint stands twice",
        ),
        (
            "members: [{endpoint: http://a:1}]\ntls: {cert: /dev/null}\n",
            ":2: tls.cert: there is no file /dev/null",
        ),
    ],
)
def test_mistakes_in_words(tmp_path: Path, text: str, expected: str) -> None:
    assert mistakes(write(tmp_path, text)) == [expected]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("members:\n  - endpoint: http://a:1\nname: a\nname: b\n", 4, "duplicate key"),
        ("members:\n  - endpoint: http://a:1\n - x\n", 3, "is no valid YAML"),
        ("name: a\n---\nname: b\n", 2, "another document"),
        ("name: !!python/object:os.system 1\n", 1, "constructor"),
        ("name: 'open\n", 2, "is no valid YAML"),
    ],
)
def test_invalid_yaml(tmp_path: Path, text: str, line: int, words: str) -> None:
    (problem,) = mistakes(write(tmp_path, text))
    assert problem.startswith(f":{line}: is no valid YAML")
    assert words in problem


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert mistakes(tmp_path / "missing.yaml") == [": cannot be read: No such file or directory"]
    assert mistakes(tmp_path) == [": cannot be read: Is a directory"]
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe")
    assert mistakes(binary)[0].startswith(": cannot be read: 'utf-8' codec")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300),
        ("90s", 90),
        ("1h30m", 5400),
        ("10", 10),
        ("0.5", 0.5),
        ("500ms", 0.5),
        ("1d", 86400),
        ("1.5h", 5400),
    ],
)
def test_durations(tmp_path: Path, text: str, seconds: float) -> None:
    assert load(write(tmp_path, f"interval: {text}\n"), Waiting).interval == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["0", "0s", "-1", "-5m", "5M", "soon", "true", "'10'", ".inf", ".nan", "null", "[1]", "''"]
)
def test_what_is_no_duration(tmp_path: Path, text: str) -> None:
    (problem,) = mistakes(write(tmp_path, f"interval: {text}\n"), Waiting)
    assert problem.startswith(":1: interval: ")


@pytest.mark.parametrize(
    "url",
    [
        "nope",
        "ftp://a",
        "http://",
        "http://a:99999",
        "http://a:x",
        "http://a:0",
        "http://a/?b=c",
        "http://a/#b",
        "http://[::1",
    ],
)
def test_what_is_no_url(tmp_path: Path, url: str) -> None:
    (problem,) = mistakes(write(tmp_path, f'url: "{url}"\n'), HttpConfig)
    assert "is no URL" in problem


def test_a_password_in_a_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    (problem,) = mistakes(write(tmp_path, "url: http://me:hush@prometheus:9090\n"), HttpConfig)
    assert problem == ":1: url: credentials in a URL end up in logs: configure auth or bearer_token_file"


def test_two_credentials_exclude_each_other(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush")
    text = f"url: http://a\nbearer_token_file: {secret}\nauth: {{username: a, password_file: {secret}}}\n"
    assert mistakes(write(tmp_path, text), HttpConfig) == [":1: auth and bearer_token_file exclude each other"]
