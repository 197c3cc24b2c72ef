"""Every cut and every flipped bit of a journal and of its mirror."""

from __future__ import annotations

import json
import zlib
from itertools import product

import pytest

from search.study.storage.mirror import mirrored, reconcile

LINES = tuple(
    json.dumps({"op_code": code, "worker_id": "w", "J*": number}).encode() for number, code in enumerate((0, 4, 8, 6))
)
JOURNAL = b"".join(line + b"\n" for line in LINES)
MIRROR = b"".join(b"%08x %s\n" % (zlib.crc32(line), line) for line in LINES)


def flipped(content: bytes, at: int, bit: int) -> bytes:
    return content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]


def every_flip(content: bytes) -> list[bytes]:
    return [flipped(content, at, bit) for at, bit in product(range(len(content)), range(8))]


def test_the_mirror_of_a_line_is_its_checksum_and_itself() -> None:
    # 0xcbf43926 is the published check value of CRC-32: that of the digits 1 to 9.
    assert mirrored(b"123456789") == b"cbf43926 123456789\n"
    assert b"".join(map(mirrored, LINES)) == MIRROR


def test_copies_that_agree_are_whole() -> None:
    found = reconcile(JOURNAL, MIRROR)
    assert found.lines == LINES
    assert found.journal_is_whole
    assert found.mirror_is_whole


def test_wherever_both_are_cut_every_line_that_one_has_whole_is_there() -> None:
    for end, mirror_end in product(range(len(JOURNAL) + 1), range(len(MIRROR) + 1)):
        journal, mirror = JOURNAL[:end], MIRROR[:mirror_end]
        whole = max(journal.count(b"\n"), mirror.count(b"\n"))
        found = reconcile(journal, mirror)
        assert found.lines == LINES[:whole]
        assert found.torn
        assert not found.restored
        assert not found.unvouched
        assert found.journal_is_whole == (end == sum(len(line) + 1 for line in LINES[:whole]))


def test_any_flipped_bit_of_the_journal_is_undone() -> None:
    for journal in every_flip(JOURNAL):
        found = reconcile(journal, MIRROR)
        assert found.lines == LINES
        assert len(found.restored) == 1
        assert not found.journal_is_whole
        assert found.mirror_is_whole


def test_any_flipped_bit_of_the_mirror_is_undone() -> None:
    for mirror in every_flip(MIRROR):
        found = reconcile(JOURNAL, mirror)
        assert found.lines == LINES
        assert found.journal_is_whole
        assert not found.mirror_is_whole


def test_damage_to_different_lines_of_the_two_is_undone() -> None:
    for at, mirror_at in product(range(len(LINES)), repeat=2):
        journal = JOURNAL.replace(LINES[at], LINES[at].replace(b"{", b"z"))
        mirror = MIRROR.replace(LINES[mirror_at], LINES[mirror_at].replace(b"}", b"y"))
        # Of the same line, both copies are bad; it and what follows cannot be told from what was never written.
        assert reconcile(journal, mirror).lines == (LINES[:at] if at == mirror_at else LINES)


def test_a_line_that_still_reads_well_is_not_trusted_against_its_checksum() -> None:
    journal = JOURNAL.replace(b'"J*": 3', b'"J*": 7')
    found = reconcile(journal, MIRROR.replace(b'"J*": 3', b'"J*": 1'))
    assert found.lines == LINES[:3]
    assert not found.torn


def test_a_checksum_that_is_wrong_yields_to_two_copies_that_agree() -> None:
    wrong = b"%08x " % (zlib.crc32(LINES[2]) ^ 1)
    mirror = MIRROR.replace(b"%08x " % zlib.crc32(LINES[2]), wrong)
    found = reconcile(JOURNAL, mirror)
    assert found.lines == LINES
    assert found.unvouched == (2,)


@pytest.mark.parametrize("length", [1, 9, 40, 200])
def test_zeros_that_a_loss_of_power_left_in_the_mirror_cost_nothing(length: int) -> None:
    found = reconcile(JOURNAL, MIRROR[:-length] + bytes(length))
    assert found.lines == LINES
    assert not found.mirror_is_whole


def test_lines_that_were_never_mirrored_are_taken() -> None:
    mirror = b"".join(map(mirrored, LINES[:2]))
    found = reconcile(JOURNAL, mirror)
    assert found.lines == LINES
    assert found.journal_is_whole
    assert not found.mirror_is_whole
    assert not found.unvouched


@pytest.mark.parametrize(
    "bad", [b"{}", b"[]", b"7", b"", b'{"op_code": 4, "worker_id"', b'{"op_code": "4", "worker_id": "w"}']
)
def test_what_was_never_mirrored_and_is_no_line_of_a_journal_ends_it(bad: bytes) -> None:
    journal = JOURNAL + bad + b"\n" + LINES[0] + b"\n"
    found = reconcile(journal, MIRROR)
    assert found.lines == LINES
    assert not found.torn
    assert found.journal_rest == bad + b"\n" + LINES[0] + b"\n"
