"""The streaming filter finds what prometheus_client's parser of the whole finds."""

import math
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from kube_ballast.clients.exposition import Filter, Sample

NAMES = ("wanted", "wanted_too", "wanted_total", "unwanted", "not_wanted", "other_wanted")
WANTED = NAMES[:3]

label_values = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=12)
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
            st.sampled_from(["", "# a comment", "# HELP wanted wanted 1", "# TYPE wanted gauge", "# wanted 5"])
        )
        return f"{words}\n"
    pairs = ",".join(f'{name}="{escaped(value)}"' for name, value in draw(labels).items())
    block = f"{{{pairs}{draw(st.sampled_from(['', ',']))}}}" if pairs else draw(st.sampled_from(["", "{}"]))
    timestamp = draw(st.sampled_from(["", " 1395066363000"]))
    return f"{draw(st.sampled_from(NAMES))}{block} {draw(values)}{timestamp}\n"


def parsed(text: str) -> list[tuple[str, dict[str, str], str]]:
    families = text_string_to_metric_families(text)
    return [
        (sample.name, dict(sample.labels), repr(float(sample.value)))
        for family in families
        for sample in family.samples
        if sample.name in WANTED
    ]


def filtered(body: bytes, cuts: list[int]) -> list[tuple[str, dict[str, str], str]]:
    filter_ = Filter(WANTED)
    places = sorted({min(cut, len(body)) for cut in cuts} | {0, len(body)})
    for start, end in pairwise(places):
        filter_.feed(body[start:end])
    return [(sample.name, dict(sample.labels), repr(sample.value)) for sample in filter_.close()]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.lists(lines(), max_size=12).map("".join), cuts=st.lists(st.integers(0, 600), max_size=8))
def test_the_filter_agrees_with_the_parser_however_the_body_is_cut(text: str, cuts: list[int]) -> None:
    key = repr
    assert sorted(filtered(text.encode(), cuts), key=key) == sorted(parsed(text), key=key)


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_bytes_of_any_kind_give_samples_or_a_value_error(body: bytes, cuts: list[int]) -> None:
    with suppress(ValueError):
        assert all(name in WANTED for name, _, _ in filtered(b"wanted" + body, cuts))


def test_the_last_line_needs_no_end() -> None:
    filter_ = Filter(("a",))
    filter_.feed(b"a 1\na 2")
    assert filter_.close() == (Sample("a", {}, 1.0), Sample("a", {}, 2.0))


@pytest.mark.parametrize("line", [b"a{", b'a{b="c} 1', b'a{b="c"} ', b"a ", b"a 1 2 3", b"a one", b"a{b=c} 1"])
def test_broken_lines(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"labels that cannot be read|no value|could not convert"):
        Filter(("a",)).feed(line + b"\n")


def test_a_line_without_an_end_is_not_collected_for_ever() -> None:
    filter_ = Filter(("a",))
    for _ in range(16):
        filter_.feed(b"x" * 65536)
    with pytest.raises(ValueError, match="a line of more than"):
        filter_.feed(b"x")
