"""Verification finds everything that is not as written, names it, and goes on where it was."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

import cxr_engine.shards.verify as verify_module
from cxr_engine.shards import (
    Problem,
    VerifyReport,
    read_manifest,
    verify_shards,
    write_manifest,
)
from cxr_engine.shards.check import ShardCheck, check_shard
from cxr_engine.shards.errors import DataError, IntegrityError, UsageError
from cxr_engine.shards.verify_progress import PROGRESS


@pytest.fixture
def shards(phantom_shards: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(phantom_shards, tmp_path / "shards")


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, bit // 8)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1 << bit % 8]), bit // 8)


def checks_of(folder: Path) -> list[ShardCheck]:
    """The checks of a full verification, as `verify_shards` makes them."""
    caught: list[ShardCheck] = []

    def catch(check: ShardCheck) -> tuple[Problem, ...]:
        caught.append(check)
        return ()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify_module, "check_shard", catch)
        verify_shards(folder, full=True, jobs=1)
    return caught


def rows(folder: Path, shard: str) -> list[dict[str, int]]:
    return [row for row in read_manifest(folder).frame.to_dicts() if row["shard"] == shard]


@pytest.mark.parametrize("mode", [{}, {"full": True}, {"decode": True}])
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_data_set_as_written_has_no_problem(
    phantom_shards: Path, mode: dict[str, bool], jobs: int
) -> None:
    ticks: list[tuple[int, int, int]] = []
    before = sorted(phantom_shards.iterdir())
    report = verify_shards(
        phantom_shards, jobs=jobs, on_progress=lambda *tick: ticks.append(tick), **mode
    )
    n = len(report.to_dict()["problems"])
    tars = list(phantom_shards.glob("*.tar"))
    assert (n, report.is_complete, report.notes, report.samples) == (0, True, (), 90)
    assert report.shards_done == len(tars) == len(ticks)
    assert report.bytes == sum(path.stat().st_size for path in tars) == ticks[-1][2]
    assert sorted(phantom_shards.iterdir()) == before


def test_full_finds_every_flipped_bit(shards: Path, faults: int) -> None:
    checks = checks_of(shards)
    seed = 11
    print("seed", seed)
    draw = random.Random(seed)
    for _ in range(50 * faults):
        check = draw.choice(checks)
        bit = draw.randrange(8 * check.bytes)
        flip(shards / check.name, bit)
        problems = check_shard(check)
        flip(shards / check.name, bit)
        assert problems, (check.name, bit)
        assert all(problem.shard == check.name for problem in problems)
        assert len(problems) == 1, (bit, problems)


def test_a_flipped_picture_is_named_and_its_neighbours_are_not(shards: Path) -> None:
    row = rows(shards, "train-000001.tar")[5]
    flip(shards / "train-000001.tar", 8 * (row["offset"] + row["size"] // 2))
    assert not verify_shards(shards).problems
    (problem,) = verify_shards(shards, full=True).problems
    assert (problem.shard, problem.member, problem.key) == (
        "train-000001.tar", row["member"], row["key"],
    )  # fmt: skip
    assert problem.found == "its bytes have another hash"
    assert "cxr-engine shard" in problem.remedy


def test_a_flipped_header_is_named_by_its_place(shards: Path) -> None:
    name = "train-000000.tar"
    first, second = rows(shards, name)[2:4]
    behind = first["offset"] + first["size"]
    for bit, member in (
        (8 * (second["offset"] - 512), second["member"]),
        (8 * (behind + -behind % 512), f"{first['key']}.json"),
    ):
        flip(shards / name, bit)
        for report in (verify_shards(shards), verify_shards(shards, full=True)):
            (problem,) = report.problems
            assert (problem.shard, problem.member) == (name, member)
            assert problem.key == member.partition(".")[0]
        flip(shards / name, bit)


def test_all_problems_are_found_in_one_pass(shards: Path) -> None:
    hit, last = rows(shards, "train-000000.tar")[3:5], rows(shards, "val-000000.tar")[-1]
    for row in hit:
        flip(shards / "train-000000.tar", 8 * row["offset"] + 100)
    flip(shards / "train-000000.tar", 8 * (hit[0]["offset"] - 500))
    (shards / "train-000001.tar").unlink()
    cut = shards / "val-000000.tar"
    os.truncate(cut, cut.stat().st_size // 2)
    shutil.copy(shards / "train-000000.tar", shards / "train-000077.tar")
    report = verify_shards(shards, full=True, jobs=2)
    assert report.is_complete
    found = {(problem.shard, problem.member): problem.found for problem in report.problems}
    assert "checksum" in found["train-000000.tar", hit[0]["member"]]
    assert "another hash" in found["train-000000.tar", hit[1]["member"]]
    assert found["train-000001.tar", None] == "it is missing"
    assert "bytes instead of" in found["val-000000.tar", None]
    assert "does not list it" in found["train-000077.tar", None]
    assert found["val-000000.tar", last["member"]] == "the shard ends before it"


def test_members_of_another_shard_are_missing_and_strange(shards: Path) -> None:
    shutil.copy(shards / "train-000001.tar", shards / "train-000000.tar")
    found = [problem.found for problem in verify_shards(shards).problems]
    own, others = rows(shards, "train-000000.tar"), rows(shards, "train-000001.tar")
    assert found.count("it is missing") == 2 * len(own)
    assert found.count("it is not in the manifest") == 2 * len(others)


def test_a_changed_json_is_a_changed_shard(shards: Path) -> None:
    row = rows(shards, "train-000000.tar")[0]
    end = row["offset"] + row["size"]
    flip(shards / "train-000000.tar", 8 * (end + -end % 512 + 512 + 20))
    assert not verify_shards(shards).problems
    (problem,) = verify_shards(shards, full=True).problems
    assert ".json was changed" in problem.found


def test_decoding_compares_the_pixels_with_the_manifest(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = verify_module._pictures

    def another_size(*arguments: object) -> Iterator[verify_module.Picture]:
        for picture in real(*arguments):
            facts = (picture.offset, picture.size, picture.xxh3)
            yield verify_module.Picture(picture.member, picture.key, *facts, 63, 64)

    monkeypatch.setattr(verify_module, "_pictures", another_size)
    assert not verify_shards(shards, full=True).problems
    report = verify_shards(shards, decode=True)
    assert len(report.problems) == report.samples
    assert "(64, 64) pixels instead of (63, 64)" in report.problems[0].found


def test_folders_links_and_pipes_in_place_of_a_shard_are_problems(shards: Path) -> None:
    first, second, third = sorted(shards.glob("*.tar"))[:3]
    first.unlink()
    first.mkdir()
    second.unlink()
    os.mkfifo(second)
    third.unlink()
    third.symlink_to("/nowhere")
    found = [problem.found for problem in verify_shards(shards, full=True).problems]
    assert found == ["it is not a plain file", "it is not a plain file", "it is missing"]


def stopped(folder: Path, **options: object) -> VerifyReport:
    """A run that the time limit stops behind its first shard."""
    return verify_shards(folder, jobs=1, time_limit=1e-9, **options)


def test_a_stopped_run_goes_on_and_finds_the_same(shards: Path) -> None:
    for name in ("train-000000.tar", "val-000000.tar"):
        row = rows(shards, name)[0]
        flip(shards / name, 8 * row["offset"])
    expected = verify_shards(shards, full=True).problems
    n_shards = len(list(shards.glob("*.tar")))
    for n_done in range(1, n_shards):
        report = stopped(shards, full=True, resume=n_done > 1)
        assert (report.shards_done, report.is_complete) == (n_done, False)
        assert (shards / PROGRESS).exists()
    report = stopped(shards, full=True, resume=True)
    assert (report.is_complete, report.notes, report.problems) == (True, (), expected)
    assert not (shards / PROGRESS).exists()


def test_an_interrupt_keeps_what_is_done(shards: Path) -> None:
    def interrupt(done: int, *_: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_shards(shards, full=True, jobs=1, on_progress=interrupt)
    seen: list[int] = []
    report = verify_shards(
        shards, full=True, jobs=1, resume=True, on_progress=lambda done, *_: seen.append(done)
    )
    assert report.is_complete
    assert seen[0] == 3


def change(path: Path, edit: Callable[[dict[str, object]], object]) -> None:
    document = json.loads(path.read_bytes())
    edit(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("damage", "note"),
    [
        (lambda path: path.unlink(), "nothing to resume"),
        (lambda path: path.write_text("{"), "damaged"),
        (lambda path: path.write_text("[" * 100_000), "damaged"),
        (lambda path: path.write_text("[1]"), "damaged"),
        (lambda path: change(path, lambda d: d.update(body=d["body"] + " ")), "damaged"),
        (lambda path: flip(path, 8 * (path.stat().st_size // 2)), "damaged"),
    ],
)
def test_progress_that_cannot_be_believed_is_ignored_with_a_note(
    shards: Path, damage: Callable[[Path], object], note: str
) -> None:
    stopped(shards, full=True)
    damage(shards / PROGRESS)
    seen: list[int] = []
    report = verify_shards(
        shards, full=True, resume=True, on_progress=lambda done, *_: seen.append(done)
    )
    assert note in report.notes[0]
    assert seen[0] == 1


def test_progress_of_another_mode_is_ignored_and_stays(shards: Path) -> None:
    stopped(shards, full=True)
    report = verify_shards(shards, resume=True)
    assert "mode full" in report.notes[0]
    assert report.is_complete
    assert stopped(shards, full=True, resume=True).shards_done == 2


def test_a_folder_that_cannot_be_written_is_verified(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("cxr_engine.shards.verify_progress.Progress.save", refused)
    report = stopped(shards, full=True)
    assert report.shards_done == 1
    assert "Permission denied" in report.notes[0]


def test_a_damaged_manifest_is_an_error_or_says_the_same(shards: Path, faults: int) -> None:
    path = shards / "manifest.parquet"
    before = read_manifest(shards)
    seed, errors = 5, 0
    print("seed", seed)
    draw = random.Random(seed)
    for _ in range(5 * faults):
        bit = draw.randrange(8 * path.stat().st_size)
        flip(path, bit)
        try:
            verify_shards(shards, full=True, jobs=1)
        except (IntegrityError, DataError):
            errors += 1
        else:
            after = read_manifest(shards)
            assert after.frame.equals(before.frame), bit
            assert (after.shards, after.class_names) == (before.shards, before.class_names)
        flip(path, bit)
    assert errors > 3 * faults


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("key", "twice", "a key comes twice"),
        ("offset", None, "a cell is empty"),
        ("offset", -512, "an impossible place"),
        ("size", 2**40, "an impossible place"),
        ("member", "../../a.jpg", "is no picture"),
        ("member", "other.jpg", "is no picture"),
    ],
)
def test_rows_that_the_writer_cannot_have_written_are_refused(
    shards: Path, column: str, value: object, named: str
) -> None:
    manifest = read_manifest(shards)
    frame = manifest.frame.with_columns(
        pl.when(pl.int_range(pl.len()) < 2).then(pl.lit(value)).otherwise(column).alias(column)
    )
    write_manifest(shards, frame, manifest.class_names, manifest.shards, manifest.options)
    with pytest.raises(IntegrityError, match=named):
        verify_shards(shards)


def test_no_time_is_a_usage_error(shards: Path) -> None:
    with pytest.raises(UsageError, match="no time"):
        verify_shards(shards, time_limit=0)
