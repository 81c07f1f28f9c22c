"""CSV files are read as text, strictly, with the line of every row."""

from __future__ import annotations

import csv
import gzip
import random
from pathlib import Path

import pytest

from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.sources.text_table import read_text_table


def write(folder: Path, content: bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_cells_stay_text_and_rows_keep_their_lines(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfid,note\r\n007,"a\nb"\r\n\r\n1.90E+38,"say ""hi"", no"\r\n'
    table = read_text_table(write(tmp_path, content))
    assert table.cells.to_dict(as_series=False) == {
        "id": ["007", "1.90E+38"],
        "note": ["a\nb", 'say "hi", no'],
    }
    assert table.lines.to_list() == [2, 5]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_delimiters_and_gzip(tmp_path: Path, mark: str) -> None:
    text = "a,b\n1,2\n3,4\n".replace(",", mark).encode()
    plain = read_text_table(write(tmp_path, text))
    packed = read_text_table(write(tmp_path, gzip.compress(b"\xef\xbb\xbf" + text), "t.csv.gz"))
    assert plain.cells.rows() == packed.cells.rows() == [("1", "2"), ("3", "4")]
    assert packed.cells.columns == ["a", "b"]


def test_blank_columns_at_the_end_do_not_count(tmp_path: Path) -> None:
    for content in (b"a,b,\n1,2,\n", b"a,b\n1,2,\n", b"a,b,,\n1,2\n,,,\n"):
        table = read_text_table(write(tmp_path, content))
        assert table.cells.rows() == [("1", "2")]


def test_many_chunks_equal_the_csv_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_engine.shards.sources.text_table._CHUNK_ROWS", 7)
    rows = [[str(number), f"x{number}"] for number in range(50)]
    path = tmp_path / "t.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["a", "b"], *rows])
    table = read_text_table(path)
    assert [list(row) for row in table.cells.iter_rows()] == rows
    assert table.lines.to_list() == list(range(2, 52))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"a,b\n1,2\n1\n", "line 3"),
        (b"a,b\n1,2\n1,2,3\n", "line 3"),
        (b'a,b\n"1"x,2\n', "line 2"),
        (b'a,b\n1,2\n1,"2\n', "line 3"),
        (b"a,a\n1,2\n", "line 1"),
        (b"a,b\n\xff\xfe,2\n", "t.csv"),
        (b"", "t.csv"),
        (b"a,b\n", "t.csv"),
    ],
)
def test_broken_tables_are_named_with_their_line(tmp_path: Path, content: bytes, line: str) -> None:
    with pytest.raises(DataError) as caught:
        read_text_table(write(tmp_path, content))
    assert caught.value.where.endswith(line)


def test_cut_gzip_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(b"a,b\n" + b"1,2\n" * 1000)[:-20], "t.csv.gz")
    with pytest.raises(DataError, match="cannot be read"):
        read_text_table(path)


def test_absent_table_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such table"):
        read_text_table(tmp_path / "t.csv")


def test_unknown_column_names_the_nearest_and_the_flag(tmp_path: Path) -> None:
    table = read_text_table(write(tmp_path, b"path,patient_id\n1,2\n"))
    with pytest.raises(UsageError) as caught:
        table.column("patientid", "--patient")
    assert caught.value.remedy == "--patient 'patient_id'?"


def test_mutated_tables_give_rows_or_a_named_error(tmp_path: Path) -> None:
    rng = random.Random(1)
    good = b'image,patient,Mass\n"a,1.png",p1,1\nb.png,p2,0\nc.png,p3,\n'
    for _ in range(500):
        content = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(content))
            content[place : place + rng.randint(0, 2)] = rng.choice(
                [b'"', b",", b"\n", b"\r", b"\0", b"\xff", b";", b"", b"\xef\xbb\xbf"]
            )
        path = write(tmp_path, bytes(content))
        try:
            table = read_text_table(path)
        except DataError as error:
            assert str(path) in error.where  # noqa: PT017  # rows are as good an end
        else:
            assert table.cells.height == len(table.lines) > 0
