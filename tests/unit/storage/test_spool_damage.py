"""A spool in which any bit is wrong, or that ends anywhere: every line that is whole is read all the same."""

import json
import logging
import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.storage.spool import Spool, damaged_lines, find_spools, read_records, spool_id_of

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
RECORDS = 6


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    made = Spool.create(tmp_path, NOW, "a test")
    for number in range(1, RECORDS + 1):
        made.append([[json.dumps({"text": f'{number} {{"crc":"é" {"x" * number}'})]], NOW)
    made.close()
    return made.path


def seqs(path: Path) -> list[int]:
    return [record.seq for record in read_records(path)]


def test_one_wrong_bit_takes_one_line_at_most(spool: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, chance, spool_id = spool.read_bytes(), random.Random(5), spool_id_of(spool)
    starts = [0, *(position + 1 for position, byte in enumerate(whole[:-1]) if byte == 10)]
    ends = [start - 1 for start in starts[1:]] + [len(whole) - 1]
    positions = {*starts, *ends, *chance.sample(range(len(whole)), 200)}
    for position in sorted(positions):
        data = bytearray(whole)
        data[position] ^= 1 << chance.randrange(8)
        spool.write_bytes(data)
        line = sum(start <= position for start in starts)
        caplog.clear()
        found = seqs(spool)
        lost = set(range(1, RECORDS + 1)) - set(found)
        assert lost <= {line - 1}, f"byte {position}, of line {line}"
        assert found == sorted(found)
        assert spool_id_of(spool) == spool_id
        if lost:
            assert f"line {line} is damaged" in caplog.text
            assert damaged_lines(spool) == [line]


def test_a_file_that_ends_anywhere_has_the_lines_before(spool: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    whole = spool.read_bytes()
    for length in range(0, len(whole), 7):
        spool.write_bytes(whole[:length])
        lines = whole[:length].count(b"\n")
        assert seqs(spool) == list(range(1, lines))
        assert damaged_lines(spool) == []
        again = Spool.reopen(spool)
        again.append([['{"text": "more"}']], NOW)
        again.close()
        if lines:
            assert seqs(spool) == list(range(1, lines + 1))


def test_a_last_line_whose_end_is_damaged_is_gone_on_from(spool: Path) -> None:
    data = bytearray(spool.read_bytes())
    data[-1] ^= 1
    spool.write_bytes(data)
    again = Spool.reopen(spool)
    again.append([['{"text": "more"}']], NOW)
    again.close()
    assert seqs(spool) == list(range(1, RECORDS + 2))
    assert damaged_lines(spool) == []


def test_an_append_that_could_be_neither_synced_nor_undone_does_not_count(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(5, "Input/output error")

    again = Spool.reopen(spool)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        patch.setattr(os, "ftruncate", fail)
        with pytest.raises(OSError, match="Input/output"):
            again.append([['{"text": "not acknowledged"}']], NOW)
        with pytest.raises(OSError, match="Input/output"):
            again.settle()
    again.append([['{"text": "acknowledged"}']], NOW)
    again.close()
    *_, last = read_records(spool)
    assert (last.seq, last.events) == (RECORDS + 1, [{"text": "acknowledged"}])


def test_a_number_that_was_merged_is_not_given_again(spool: Path) -> None:
    again = Spool.reopen(spool, after=40)
    again.append([['{"text": "more"}']], NOW)
    again.close()
    assert seqs(spool)[-1] == 41


def test_a_later_spool_stands_behind_an_earlier_one_whatever_the_clock_says(tmp_path: Path) -> None:
    made = []
    for hours in (0, -5, -5, 3):
        spool = Spool.create(tmp_path, NOW + timedelta(hours=hours), "a test")
        spool.close()
        made.append(spool.path)
    assert find_spools(tmp_path) == made
