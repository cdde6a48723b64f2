"""The page model against itself; tests/exporter/test_census_space.py holds it against what etcd really does."""

from hypothesis import given
from hypothesis import strategies as st

from kube_ballast.analysis import pages
from kube_ballast.analysis.pages import PAGE_BYTES, SAMPLE, Records

NOTHING = Records().packed_bytes(0)


def of(records: list[tuple[int, int]]) -> Records:
    made = Records()
    made.add(records)
    return made


def test_nothing_takes_what_etcd_itself_needs() -> None:
    assert NOTHING == Records().bytes_after_compaction(0, 0) == 10 * PAGE_BYTES


def test_two_records_share_a_node_whatever_they_take() -> None:
    assert of([(1, 3000), (2, 3000), (3, 10)]).packed_bytes(3) - NOTHING == 3 * PAGE_BYTES


def test_dense_records_fill_nine_tenths_of_a_page() -> None:
    # 6 × (567 + 33) + 16 fit into 3,686 bytes, a seventh does not.
    assert of([(revision, 567) for revision in range(600)]).packed_bytes(600) - NOTHING == 100 * PAGE_BYTES


def test_records_that_are_left_here_and_there_keep_their_pages() -> None:
    scattered = of([(revision, 567) for revision in range(6, 6006, 2)])
    assert scattered.bytes_after_compaction(3000, 0) - NOTHING == 1000 * PAGE_BYTES
    assert scattered.packed_bytes(3000) - NOTHING == 500 * PAGE_BYTES


def test_records_before_the_last_compaction_stay_where_they_are() -> None:
    records = of([(revision, 500) for revision in range(0, 9000, 9)])
    assert records.bytes_after_compaction(1000, 9000) == records.packed_bytes(1000)


def test_a_sample_speaks_for_all() -> None:
    every = [(revision, 200 + revision % 700) for revision in range(4 * SAMPLE)]
    records = of(every)
    assert len(records) <= SAMPLE
    exact = pages._written_pages(size for _, size in every) * PAGE_BYTES
    assert abs(records.packed_bytes(len(every)) - exact) < 0.01 * exact


def test_a_sample_is_bounded_even_where_few_transactions_wrote_everything() -> None:
    records = of([(7, 100)] * (3 * SAMPLE))
    assert 0 < len(records) <= SAMPLE
    assert records.mask == 0


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 20_000)), unique_by=lambda record: record[0]))
def test_never_less_than_the_records_themselves(records: list[tuple[int, int]]) -> None:
    content = sum(size + 33 for _, size in records)
    made = of(records)
    assert made.packed_bytes(len(records)) >= content
    assert made.bytes_after_compaction(len(records), 0) >= content
