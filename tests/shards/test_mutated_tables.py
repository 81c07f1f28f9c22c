"""500 damaged tables of all data sets: rows, or one of our errors; never a traceback."""

from __future__ import annotations

import gzip
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_engine.shards.errors import ThreeLineError
from cxr_engine.shards.findings import LabelPolicy
from cxr_engine.shards.sources import SourceTable
from cxr_engine.shards.sources.chexpert import read_chexpert
from cxr_engine.shards.sources.cxr_lt_2026 import read_cxr_lt_2026
from cxr_engine.shards.sources.mimic import read_mimic
from cxr_engine.shards.sources.nih import read_nih
from cxr_engine.shards.sources.padchest import read_padchest
from cxr_engine.shards.sources.table import read_table

MakeDownload = Callable[..., Path]  # of conftest.py
DROP = LabelPolicy(uncertain="drop", blank="negative")
READERS: dict[str, Callable[[Path], SourceTable]] = {
    "nih": read_nih,
    "table": lambda folder: read_table(folder / "t.csv", folder, policy=DROP),
    "mimic": lambda folder: read_mimic(folder, folder / "cxr-lt-2024", DROP),
    "mimic-chexpert": lambda folder: read_mimic(
        folder, folder / "mimic-cxr-2.0.0-chexpert.csv.gz", DROP
    ),
    "padchest": lambda folder: read_padchest(folder, DROP),
    "cxr-lt-2026": lambda folder: read_cxr_lt_2026(folder, DROP),
    "both": read_cxr_lt_2026,
    "chexpert": lambda folder: read_chexpert(folder, DROP),
}
N_MUTATED = 64  # each, 512 in all
CELLS = ("", "-1", "1", "nan", "NULL", "../x", "\u0661", "[]", "['x']", "1e400", "'", "é", "a\0b")
BYTES = (b'"', b",", b"\n", b"\r", b"\0", b"\xff", b";", b"\t", b"'", b"[", b"\xef\xbb\xbf", b"-")


def write_nih(folder: Path) -> None:
    (folder / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
        "00000001_000.png,Cardiomegaly|Emphysema,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
        "00000002_000.png,No Finding,0,2,411,F,AP,2682,2749,0.143,0.143,\n"
    )
    (folder / "train_val_list.txt").write_text("00000001_000.png\n")
    (folder / "test_list.txt").write_text("00000002_000.png\n")


def write_plain_table(folder: Path) -> None:
    (folder / "t.csv").write_text(
        "path,patient_id,study_id,view,split,bits_stored,labels\n"
        "a.png,1,s1,PA,train,12.0,Mass|Nodule\n"
        "b.png,1,s1,LATERAL,train,,normal\n"
        "c.png,2,s2,PA,val,8,\n"
    )


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Bytes, cells or rows changed, moved, repeated or cut."""
    kind = rng.randrange(4)
    if kind == 0:
        changed = bytearray(content)
        for _ in range(rng.randint(1, 5)):
            place = rng.randrange(len(changed))
            changed[place : place + rng.randint(0, 3)] = rng.choice(BYTES)
        return bytes(changed)
    if kind == 1:
        return content[: rng.randrange(len(content))]
    rows = [line.split(",") for line in content.decode().splitlines()]
    if kind == 2:
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = rng.choice(CELLS)
    else:
        rows.insert(rng.randrange(len(rows) + 1), list(rng.choice(rows)))
        del rows[rng.randrange(len(rows)) : rng.choice((0, len(rows)))]
    return "\n".join(",".join(row) for row in rows).encode()


def attempt(
    read: Callable[[Path], SourceTable], folder: Path
) -> tuple[ThreeLineError | None, SourceTable | None]:
    try:
        return None, read(folder)
    except ThreeLineError as error:
        return error, None


@pytest.mark.parametrize("name", READERS)
def test_damaged_tables_end_in_rows_or_in_one_of_our_errors(
    make_download: MakeDownload, tmp_path: Path, name: str
) -> None:
    if name in ("nih", "table"):
        folder = tmp_path / name
        folder.mkdir()
        (write_nih if name == "nih" else write_plain_table)(folder)
    elif name == "both":
        make_download("padchest", into="both")
        folder = make_download("cxr-lt-2026", into="both")
    else:
        folder = make_download("mimic" if name == "mimic-chexpert" else name)
    read = READERS[name]
    n_rows = read(folder).frame.height + len(read(folder).dropped)
    assert n_rows > 0
    files = [p for p in folder.rglob("*") if p.suffix in (".csv", ".gz", ".txt")]
    if name.startswith("mimic"):
        files = [
            p for p in files if ("cxr-lt-2024" in str(p)) == (name == "mimic") or "meta" in p.name
        ]
    rng = random.Random(name)
    refused = 0
    for number in range(N_MUTATED):
        path = rng.choice(sorted(files))
        good = path.read_bytes()
        if path.suffix == ".gz" and number % 2:
            path.write_bytes(gzip.compress(mutate(rng, gzip.decompress(good))))
        elif path.suffix == ".gz":
            changed = bytearray(good)
            changed[rng.randrange(len(good))] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
        else:
            path.write_bytes(mutate(rng, good))
        error, table = attempt(read, folder)
        if error is not None:
            assert error.where.startswith(str(tmp_path)), error
            assert len(str(error).splitlines()) == 3, error
            refused += 1
        elif table is not None:
            assert table.frame.height + len(table.dropped) <= n_rows + 8
        path.write_bytes(good)
    assert refused > N_MUTATED // 8
    shutil.rmtree(folder)
