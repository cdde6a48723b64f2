"""The streaming filter finds what prometheus_client's parser of the whole finds."""

import math
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from kube_ballast.clients.exposition import Filter, Sample

NAMES = ("wanted", "wanted_too", "wanted_total", "unwanted", "not_wanted", "other_wanted")
WANTED = NAMES[:3]

label_values = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=12),
    st.sampled_from(["\nwanted 1", "wanted{", '"} 1', "a # b", "\\n", '\\"', ',b="c"']),
)
labels = st.dictionaries(st.sampled_from(["a", "b_c", "le", "grpc_code"]), label_values, max_size=3)
values = st.one_of(
    st.floats().map(lambda number: {math.inf: "+Inf", -math.inf: "-Inf"}.get(number, repr(number))),
    st.sampled_from(["NaN", "+Inf", "-Inf", "0", "1e+09", "-1"]),
)


def escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


@st.composite
def lines(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 4)) == 0:
        words = draw(
            st.sampled_from(
                [
                    "",
                    "# a comment",
                    "# HELP wanted wanted 1",
                    "# HELP wanted_too \\n\\\\",
                    "# TYPE wanted gauge",
                    "# wanted 5",
                ]
            )
        )
        return f"{words}\n"
    pairs = ",".join(f'{name}="{escaped(value)}"' for name, value in draw(labels).items())
    all_labels = f"{{{pairs}{draw(st.sampled_from(['', ',']))}}}" if pairs else draw(st.sampled_from(["", "{}"]))
    timestamp = draw(st.sampled_from(["", " 1395066363000"]))
    return f"{draw(st.sampled_from(NAMES))}{all_labels} {draw(values)}{timestamp}\n"


def parsed(text: str) -> list[tuple[str, dict[str, str], str]]:
    families = text_string_to_metric_families(text)
    return [
        (sample.name, dict(sample.labels), repr(float(sample.value)))
        for family in families
        for sample in family.samples
        if sample.name in WANTED
    ]


def taken(body: bytes, cuts: list[int], names: tuple[str, ...] = WANTED) -> list[Sample]:
    samples: list[Sample] = []
    filter_ = Filter(names, samples.append)
    places = sorted({min(cut, len(body)) for cut in cuts} | {0, len(body)})
    for start, end in pairwise(places):
        filter_.feed(body[start:end])
    filter_.close()
    return samples


def filtered(body: bytes, cuts: list[int]) -> list[tuple[str, dict[str, str], str]]:
    return [(sample.name, dict(sample.labels), repr(sample.value)) for sample in taken(body, cuts)]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.lists(lines(), max_size=12).map("".join), cuts=st.lists(st.integers(0, 600), max_size=8))
def test_the_filter_agrees_with_the_parser_however_the_body_is_cut(text: str, cuts: list[int]) -> None:
    key = repr
    assert sorted(filtered(text.encode(), cuts), key=key) == sorted(parsed(text), key=key)


def block(pairs: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in pairs.items()) + "}"


@st.composite
def open_metrics(draw: st.DrawFn) -> str:
    families = [f"# TYPE other counter\nother_total{block(draw(labels))} 1\n"]
    for name in ("wanted", "unwanted"):
        text = f"# HELP {name} {escaped(draw(label_values))}\n# TYPE {name} counter\n"
        for number in range(draw(st.integers(0, 3))):
            timestamp = draw(st.sampled_from(["", " 1395066363.5"]))
            exemplar = draw(st.sampled_from(["", ' # {trace_id="a b"} 0.5', " # {} 1 1395066363.1"]))
            text += f"{name}_total{block({'n': str(number), **draw(labels)})} {number}.5{timestamp}{exemplar}\n"
        families.append(text)
    return "".join(draw(st.permutations(families))) + "# EOF\n"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=open_metrics(), cuts=st.lists(st.integers(0, 600), max_size=8))
def test_the_filter_agrees_with_the_parser_of_openmetrics(text: str, cuts: list[int]) -> None:
    families = openmetrics.text_string_to_metric_families(text)
    expected = [(each.name, dict(each.labels), repr(each.value)) for family in families for each in family.samples]
    assert filtered(text.encode(), cuts) == [each for each in expected if each[0] in WANTED]


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_bytes_of_any_kind_give_samples_or_a_value_error(body: bytes, cuts: list[int]) -> None:
    with suppress(ValueError):
        assert all(name in WANTED for name, _, _ in filtered(b"wanted" + body, cuts))


@pytest.mark.parametrize("end", ["", "\n", "# EOF", "# EOF\n"])
def test_a_body_ends_with_a_line_or_with_the_mark_of_openmetrics(end: str) -> None:
    assert taken(f"a 1\na 2\n{end}".encode(), [], ("a",)) == [Sample("a", {}, 1.0), Sample("a", {}, 2.0)]


@pytest.mark.parametrize("half", [b"a 1\na 2", b"a 1\n# HEL", b"a 1\na_bucket{le="])
def test_half_a_line_at_the_end_is_an_error(half: bytes) -> None:
    with pytest.raises(ValueError, match="it breaks off in the middle of a line"):
        taken(half, [], ("a",))


@pytest.mark.parametrize("line", [b"a{", b'a{b="c} 1', b'a{b="c"} ', b"a ", b"a 1 2 3", b"a one", b"a{b=c} 1"])
def test_broken_lines(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"labels that cannot be read|no value|could not convert"):
        taken(line + b"\n", [], ("a",))


@pytest.mark.parametrize("size", [1, 1000, 65536, 2**21])
def test_a_label_of_a_megabyte_is_an_error_however_it_arrives(size: int) -> None:
    pieces = range(0, 2**20, size)
    body = b'a{b="' + b"x" * 2**20 + b'"} 1\n'
    with pytest.raises(ValueError, match=r"a line of more than 65536 bytes: b'a\{b=\"xxx"):
        taken(body, [*pieces] if size > 1 else [5, *range(2**16, 2**17)], ("a",))


def test_a_line_without_an_end_is_not_collected_for_ever() -> None:
    filter_ = Filter(("a",), lambda _: None)
    for _ in range(65):
        filter_.feed(b"x" * 1000)
    with pytest.raises(ValueError, match="a line of more than"):
        filter_.feed(b"x" * 1000)
