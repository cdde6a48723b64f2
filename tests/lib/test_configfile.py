import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest

from kube_ballast.config import Duration, EtcdConfig, HttpConfig, Model
from kube_ballast.configfile import ConfigError, Reloaded, load


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: 2026-13-45\n", "month must be in 1..12"),
        ("name: !!int x\n", "invalid literal for int()"),
        (f"name: {'9' * 5000}\n", "Exceeds the limit (4300 digits)"),
        ("name: [" * 5000, "maximum recursion depth exceeded"),
    ],
)
def test_a_value_that_its_own_type_does_not_take(tmp_path: Path, text: str, words: str) -> None:
    (problem,) = mistakes(write(tmp_path, text))
    assert problem.startswith(f": is no valid YAML: {words}")


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


# --- A file that changes while the program runs ---


def interval(path: Path) -> float:
    return load(path, Waiting).interval


def test_a_change_takes_effect_the_next_time(tmp_path: Path) -> None:
    file = Reloaded(write(tmp_path, "interval: 1s\n"), interval)
    assert (file.current(), file.problem) == (1.0, None)
    write(tmp_path, "interval: 20s\n")
    assert (file.current(), file.problem) == (20.0, None)


def test_a_file_that_is_replaced_as_a_mounted_one_is(tmp_path: Path) -> None:
    """Kubernetes swaps a link; size and time of the file that it leads to may be the same."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        os.utime(write(tmp_path / name, f"interval: {name}s\n"), ns=(0, 0))
    link = tmp_path / "now"
    link.symlink_to("1")
    file = Reloaded(link / "ballast.yaml", interval)
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").rename(link)
    assert file.current() == 2.0


@pytest.mark.parametrize("bad", ["interval: -10s\n", "interval: [\n", "interval: 2026-13-45\n", "[" * 5000, ""])
def test_a_bad_file_leaves_the_last_good_one_and_says_so_until_it_is_good(tmp_path: Path, bad: str) -> None:
    file = Reloaded(write(tmp_path, "interval: 1s\n"), interval)
    write(tmp_path, bad)
    for _ in range(3):
        assert file.current() == 1.0
        assert (file.problem or "").startswith(str(tmp_path / "ballast.yaml"))
    write(tmp_path, "interval: 20s\n")
    assert (file.problem, file.current()) == (None, 20.0)


def test_a_file_that_is_gone_and_comes_back(tmp_path: Path) -> None:
    path = write(tmp_path, "interval: 1s\n")
    file = Reloaded(path, interval)
    path.rename(tmp_path / "elsewhere")
    assert file.current() == 1.0
    assert file.problem == f"{path}: cannot be read: No such file or directory"
    (tmp_path / "elsewhere").rename(path)
    assert (file.problem, file.current()) == (None, 1.0)


def test_at_the_start_there_is_no_last_good_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="interval"):
        Reloaded(write(tmp_path, "interval: soon\n"), interval)


def test_whoever_comes_while_it_is_read_waits_for_what_it_says_now(tmp_path: Path) -> None:
    reading, go_on = Event(), Event()
    go_on.set()

    def slowly(path: Path) -> float:
        reading.set()
        assert go_on.wait(10)
        return interval(path)

    file = Reloaded(write(tmp_path, "interval: 1s\n"), slowly)
    reading.clear()
    go_on.clear()
    write(tmp_path, "interval: 20s\n")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(file.current)
        assert reading.wait(10)
        second = pool.submit(file.current)
        with pytest.raises(TimeoutError):
            second.result(0.2)
        go_on.set()
        assert (first.result(10), second.result(10)) == (20.0, 20.0)


def test_threads_that_race_to_reload_read_it_once_and_agree(tmp_path: Path) -> None:
    reads: list[float] = []

    def counting(path: Path) -> float:
        reads.append(interval(path))
        return reads[-1]

    file = Reloaded(write(tmp_path, "interval: 1s\n"), counting)
    together = Barrier(8)

    def ask() -> float:
        together.wait(10)
        return file.current()

    with ThreadPoolExecutor(8) as pool:
        for seconds in range(20, 40):
            # Two of the same size within one tick of the file system's clock would look the same.
            os.utime(write(tmp_path, f"interval: {seconds}s\n"), ns=(0, seconds))
            answers: list[Future[float]] = [pool.submit(ask) for _ in range(8)]
            assert {answer.result(10) for answer in answers} == {float(seconds)}
    assert reads == [1.0, *map(float, range(20, 40))]
