"""Whatever is done to a chain is found, and named where it was done."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballast_remediator.chain import (
    BEGINNING,
    GENESIS,
    TRIMMED,
    Break,
    Chain,
    Entry,
    Head,
    Kind,
    Known,
    Page,
    Told,
    named_by,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PAGES = st.integers(min_value=1, max_value=7)


def sealed(seq: int, previous: str, **fields: Any) -> Entry:
    """As the store writes it, computed as a stranger would."""
    content = {
        "at": 1.0 * seq,
        "run_id": None,
        "event": "note",
        "actor": "me",
        "words": f"n{seq}",
        "data": {},
        **fields,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Entry(
        seq=seq, previous_hash=previous, hash=hashlib.sha256((previous + text).encode()).hexdigest(), **content
    )


def chained(many: int, start: Head = BEGINNING, *, data: Sequence[Any] = ()) -> list[Entry]:
    entries: list[Entry] = []
    for number in range(many):
        before = entries[-1].head if entries else start
        entries.append(sealed(before.seq + 1, before.hash, data=data[number] if number < len(data) else {}))
    return entries


def pages(entries: Sequence[Entry], size: int, checkpoint: Head | None = None) -> list[Page]:
    parts = [tuple(entries[at : at + size]) for at in range(0, len(entries), size)]
    return [Page(checkpoint, part) for part in [*parts, ()]]


def verified(
    entries: Sequence[Entry], size: int = 3, checkpoint: Head | None = None, heads: Iterable[Head | str] = ()
) -> tuple[Break | None, dict[Head | str, Told], Chain]:
    chain, known, broken = Chain(), Known(heads), None
    for found in chain.follow(pages(entries, size, checkpoint)):
        if isinstance(found, Break):
            broken = found
        else:
            for head in named_by(found):
                known.see(head)
    return broken, dict(known.told(chain)), chain


def trimmed(checkpoint: Head, before: Head) -> Entry:
    return sealed(before.seq + 1, before.hash, event=TRIMMED, data={"seq": checkpoint.seq, "hash": checkpoint.hash})


@given(st.lists(JSON, min_size=1, max_size=12), PAGES)
def test_a_chain_that_nobody_touched_is_whole(data: list[Any], size: int) -> None:
    entries = chained(len(data), data=data)
    through_json = [Entry(**json.loads(json.dumps({n: getattr(e, n) for n in Entry.__slots__}))) for e in entries]
    broken, told, chain = verified(through_json, size, heads=[entries[0].hash, entries[-1].head])
    assert broken is None
    assert set(told.values()) == {Told.FOUND}
    assert (chain.entries, chain.head) == (len(data), entries[-1].head)
    assert (chain.first_at, chain.last_at) == (entries[0].at, entries[-1].at)


@given(st.data(), st.integers(1, 12), PAGES)
def test_any_edit_is_found_where_it_was_made(data: st.DataObject, many: int, size: int) -> None:
    entries = chained(many, data=[{"x": 1.0}] * many)
    at = data.draw(st.integers(0, many - 1))
    changes = {
        "at": 1e9 + 0.5,
        "run_id": "a1",
        "event": "succeeded",
        "actor": "anna",
        "words": "",
        "data": {"x": 1},  # the same number, and another text
        "previous_hash": "f" * 64,
        "hash": "e" * 64,
        "seq": 10**6,
    }
    field = data.draw(st.sampled_from(sorted(changes)))
    entries[at] = replace(entries[at], **{field: changes[field]})  # type: ignore[arg-type]  # any field
    broken, _, chain = verified(entries, size)
    assert broken is not None
    assert broken.kind is Kind.EDITED
    assert broken.seq == entries[at].seq
    assert entries[at] in broken.around
    assert chain.entries == at


@given(st.data(), st.integers(2, 12), PAGES)
def test_what_is_taken_out_is_missed_at_the_entry_behind_it(data: st.DataObject, many: int, size: int) -> None:
    entries = chained(many)
    first = data.draw(st.integers(0, many - 2))
    last = data.draw(st.integers(first, many - 2))
    left = entries[:first] + entries[last + 1 :]
    broken, _, _ = verified(left, size)
    assert broken is not None
    assert (broken.kind, broken.seq) == (Kind.DROPPED, last + 2)
    assert str(first + 1) in broken.words
    renumbered = entries[:first] + [replace(one, seq=one.seq - (last - first + 1)) for one in entries[last + 1 :]]
    broken, _, _ = verified(renumbered, size)
    assert broken is not None
    assert (broken.kind, broken.seq) == (Kind.DROPPED, first + 1)


@given(st.data(), st.integers(2, 12), PAGES)
def test_two_that_change_places_are_found_at_the_first_of_them(data: st.DataObject, many: int, size: int) -> None:
    entries = chained(many)
    one = data.draw(st.integers(0, many - 2))
    other = data.draw(st.integers(one + 1, many - 1))
    entries[one], entries[other] = replace(entries[other], seq=one + 1), replace(entries[one], seq=other + 1)
    broken, _, _ = verified(entries, size)
    assert broken is not None
    assert (broken.kind, broken.seq) == (Kind.REORDERED, one + 1)


def test_one_that_is_put_in_with_a_hash_of_its_own() -> None:
    entries = chained(6)
    forged = sealed(4, entries[2].hash, words="forged")
    broken, _, _ = verified([*entries[:3], forged, *(replace(one, seq=one.seq + 1) for one in entries[3:])])
    assert broken is not None
    assert (broken.kind, broken.seq) == (Kind.INSERTED, 4)


def test_one_that_is_written_anew_with_a_hash_of_its_own() -> None:
    entries = chained(6)
    entries[2] = sealed(3, entries[1].hash, words="nothing happened")
    broken, _, _ = verified(entries)
    assert broken is not None
    assert broken.seq == 4
    assert "entry 3 was written anew" in broken.words
    assert entries[2] in broken.around


@given(st.data(), st.integers(2, 12), PAGES)
def test_an_end_that_is_cut_off_shows_against_a_head_alone(data: st.DataObject, many: int, size: int) -> None:
    entries = chained(many)
    left = data.draw(st.integers(0, many - 1))
    head: Head | str = entries[-1].head if data.draw(st.booleans()) else entries[-1].hash
    broken, told, _ = verified(entries[:left], size, heads=[head])
    assert broken is None
    assert told == {head: Told.MISSING}


def test_half_of_a_character_is_an_edit_and_no_fault_of_the_program() -> None:
    entries = chained(3)
    entries[1] = replace(entries[1], words="\ud800")
    broken, _, _ = verified(entries)
    assert broken is not None
    assert (broken.kind, broken.seq) == (Kind.EDITED, 2)


# --- What retention leaves ---


def test_what_retention_left_follows_from_its_checkpoint() -> None:
    entries = chained(8)
    checkpoint = entries[4].head
    entries.append(trimmed(checkpoint, entries[-1].head))
    heads: list[Head | str] = [
        checkpoint.hash,
        entries[2].head,
        entries[2].hash,
        "f" * 64,
        Head(9, "f" * 64),
        entries[6].head,
    ]
    broken, told, chain = verified(entries[5:], checkpoint=checkpoint, heads=heads)
    assert broken is None
    assert chain.entries == 4
    expected = [Told.FOUND, Told.BEFORE, Told.BEFORE, Told.BEFORE, Told.MISSING, Told.FOUND]
    assert [told[head] for head in heads] == expected


def test_a_head_that_a_later_entry_tells_of_is_in_the_chain_still() -> None:
    entries = chained(8)
    entries.append(trimmed(entries[1].head, entries[-1].head))
    entries.append(trimmed(entries[4].head, entries[-1].head))
    broken, told, _ = verified(entries[5:], checkpoint=entries[4].head, heads=[entries[1].head])
    assert broken is None
    assert told == {entries[1].head: Told.FOUND}


def test_a_beginning_that_was_cut_off_and_made_to_look_like_retention() -> None:
    entries = chained(8)
    broken, _, _ = verified(entries[5:], checkpoint=entries[4].head)
    assert broken is not None
    assert (broken.kind, broken.seq) == (Kind.DROPPED, 6)
    assert "no entry says that retention dropped it" in broken.words


def test_a_missing_beginning() -> None:
    broken, _, _ = verified(chained(5)[2:])
    assert broken is not None
    assert (broken.kind, broken.seq, broken.words) == (Kind.DROPPED, 3, "entries 1 to 2 are missing before it")


def test_retention_may_pass_whoever_reads() -> None:
    entries = chained(10)
    entries.append(trimmed(entries[7].head, entries[-1].head))
    read = [Page(None, tuple(entries[:3])), Page(entries[7].head, tuple(entries[8:])), Page(entries[7].head, ())]
    chain = Chain()
    assert not [one for one in chain.follow(read) if isinstance(one, Break)]
    assert chain.head == entries[-1].head


def test_retention_may_drop_what_was_read_already() -> None:
    entries = chained(10)
    read = [Page(None, tuple(entries[:6])), Page(entries[2].head, tuple(entries[6:])), Page(entries[2].head, ())]
    chain = Chain()
    assert not [one for one in chain.follow(read) if isinstance(one, Break)]
    assert chain.entries == 10


@pytest.mark.parametrize("known", [True, False])
def test_what_follows_from_an_entry_that_was_checked_before(known: bool) -> None:  # noqa: FBT001 - hypothesis' parameter
    entries = chained(6)
    chain = Chain(entries[2].head if known else Head(3, GENESIS))
    broken = [one for one in chain.follow(pages(entries[3:], 2)) if isinstance(one, Break)]
    assert bool(broken) is not known
