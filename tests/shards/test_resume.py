"""A run goes on where an earlier one ended, and refuses to go on with something else."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxr_engine.shards import (
    DataError,
    IntegrityError,
    ResourceError,
    ShardOptions,
    UsageError,
    build_shards,
    read_manifest,
)
from cxr_engine.shards import resume as resume_module
from cxr_engine.shards import writer as writer_module
from cxr_engine.shards.errors import Stopped

MakeTree = Callable[..., Any]  # returns the Tree of conftest.py
Typed = Callable[..., tuple[int, str, str]]
SMALL = ShardOptions(size=32, jobs=1, shard_samples=6, allow_empty_val=True)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stop_after(n_shards: int) -> Callable[[], bool]:
    asked = iter([False] * n_shards)
    return lambda: next(asked, True)


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the pictures converted in this process, as they are."""
    keys: list[str] = []

    def counted(sample: Any, options: Any) -> Any:
        keys.append(sample.key)
        return convert(sample, options)

    convert = writer_module.convert
    monkeypatch.setattr("cxr_engine.shards.executor.convert", counted)
    monkeypatch.setattr(resume_module, "convert", counted)
    return keys


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("n_shards", [0, 1, 3])
def test_a_stopped_run_continues_to_the_bytes_of_an_undisturbed_one(
    make_tree: MakeTree, tmp_path: Path, n_shards: int, jobs: int
) -> None:
    table, out = make_tree(6).read(), tmp_path / "out"
    build_shards(table, tmp_path / "whole", SMALL)
    whole = files(tmp_path / "whole")
    options = replace(SMALL, jobs=jobs)
    with pytest.raises(Stopped, match=rf"{n_shards} of \d shards") as caught:
        build_shards(table, out, options, is_stopping=stop_after(n_shards))
    assert caught.value.exit_code == 75
    assert out.exists() == (n_shards > 0)
    kept = {path: path.stat().st_ino for path in out.glob("*.tar")}
    assert len(kept) == n_shards
    notes: list[str] = []
    build_shards(table, out, options, on_note=notes.append)
    assert files(out) == whole
    assert [path.stat().st_ino for path in kept] == list(kept.values())
    assert bool(notes) == (n_shards > 0)


def test_rows_in_another_order_and_a_moved_source_continue_too(
    make_tree: MakeTree, tmp_path: Path, conversions: list[str]
) -> None:
    tree, out = make_tree(6), tmp_path / "out"
    build_shards(tree.read(), tmp_path / "whole", SMALL)
    with pytest.raises(Stopped):
        build_shards(tree.read(), out, SMALL, is_stopping=stop_after(2))
    conversions.clear()
    tree.rows.reverse()
    tree.write()
    moved = replace(tree, folder=tree.folder.rename(tmp_path / "elsewhere"))
    build_shards(moved.read(), out, SMALL)
    assert files(out) == files(tmp_path / "whole")
    assert 0 < len(conversions) < 24


def test_rerunning_with_the_allowance_converts_nothing_again_but_what_was_unreadable(
    make_tree: MakeTree, tmp_path: Path, conversions: list[str]
) -> None:
    tree, out = make_tree(6), tmp_path / "out"
    (tree.images / tree.rows[9]["image"]).write_bytes(b"no picture")
    with pytest.raises(DataError, match="1 of 24 images are unreadable"):
        build_shards(tree.read(), out, SMALL)
    assert len(conversions) == 24
    conversions.clear()
    report = build_shards(tree.read(), out, replace(SMALL, allow_missing=1))
    assert len(conversions) == 1
    assert report.dropped["unreadable"] == 1
    build_shards(tree.read(), tmp_path / "whole", replace(SMALL, allow_missing=1))
    assert files(out) == files(tmp_path / "whole")


def test_an_unreadable_picture_that_was_mended_is_taken_up(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    tree, out = make_tree(6), tmp_path / "out"
    build_shards(tree.read(), tmp_path / "whole", SMALL)
    picture = tree.images / tree.rows[9]["image"]
    content = picture.read_bytes()
    picture.write_bytes(b"no picture")
    with pytest.raises(DataError, match="unreadable"):
        build_shards(tree.read(), out, SMALL)
    picture.write_bytes(content)
    build_shards(tree.read(), out, SMALL)
    assert files(out) == files(tmp_path / "whole")


def test_shards_that_broke_since_are_written_again(make_tree: MakeTree, tmp_path: Path) -> None:
    table, out = make_tree(6).read(), tmp_path / "out"
    build_shards(table, tmp_path / "whole", SMALL)
    with pytest.raises(Stopped):
        build_shards(table, out, SMALL, is_stopping=stop_after(3))
    first, second, third = sorted(out.glob("*.tar"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1] + b"x")
    inode = third.stat().st_ino
    build_shards(table, out, SMALL)
    assert files(out) == files(tmp_path / "whole")
    assert third.stat().st_ino == inode


def test_a_journal_with_a_torn_or_flipped_line_loses_that_line_only(
    make_tree: MakeTree, tmp_path: Path, conversions: list[str]
) -> None:
    table, out = make_tree(6).read(), tmp_path / "out"
    build_shards(table, tmp_path / "whole", SMALL)
    with pytest.raises(Stopped):
        build_shards(table, out, SMALL, is_stopping=stop_after(3))
    journal = out / "journal.jsonl"
    header, first, second, third = journal.read_bytes().splitlines(keepends=True)
    sizes = [len(json.loads(line)[1]["members"]) for line in (first, second, third)]
    flipped = first.replace(b"train-", b"traim-", 1)
    journal.write_bytes(header + flipped + second + third[:-30])
    conversions.clear()
    build_shards(table, out, SMALL)
    assert files(out) == files(tmp_path / "whole")
    assert len(conversions) == 24 - sizes[1]


def test_a_journal_without_a_whole_header_is_refused(make_tree: MakeTree, tmp_path: Path) -> None:
    table, out = make_tree(6).read(), tmp_path / "out"
    with pytest.raises(Stopped):
        build_shards(table, out, SMALL, is_stopping=stop_after(1))
    (out / "journal.jsonl").write_bytes(b"x")
    with pytest.raises(DataError, match=r"journal .* is damaged"):
        build_shards(table, out, SMALL)


def edit_labels(tree: Any) -> None:
    tree.rows[0]["Mass"] = "0"


def add_class(tree: Any) -> None:
    for row in tree.rows:
        row["Fracture"] = "1"


def drop_row(tree: Any) -> None:
    del tree.rows[-1]


def lose_picture(tree: Any) -> None:
    (tree.images / tree.rows[5]["image"]).unlink()


CHANGES = [
    (edit_labels, {}, "the source's labels are others"),
    (add_class, {}, "the class list is another one"),
    (drop_row, {}, "the source's rows are others"),
    (lose_picture, {"allow_missing": 1}, "other pictures of the source are missing"),
    (None, {"size": 64}, "option size was 32 and is 64"),
    (None, {"seed": 1, "quality": 90}, "option quality was 95 and is 90; option seed was 0 and is 1"),
]  # fmt: skip


@pytest.mark.parametrize("is_finished", [False, True])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change[2])
def test_a_change_is_refused_by_name_and_leaves_all_as_it_was(
    make_tree: MakeTree,
    tmp_path: Path,
    change: tuple[Callable[[Any], None] | None, dict[str, Any], str],
    *,
    is_finished: bool,
) -> None:
    tree, out = make_tree(6), tmp_path / "out"
    if is_finished:
        build_shards(tree.read(), out, SMALL)
    else:
        with pytest.raises(Stopped):
            build_shards(tree.read(), out, SMALL, is_stopping=stop_after(2))
    before = files(out)
    edit, options, named = change
    if edit:
        edit(tree)
    with pytest.raises(UsageError) as caught:
        build_shards(tree.write().read(), out, replace(SMALL, **options))
    assert caught.value.what.endswith(f"of another command: {named}")
    assert files(out) == before


def test_a_finished_data_set_is_complete_and_nothing_is_converted(
    make_tree: MakeTree, tmp_path: Path, conversions: list[str]
) -> None:
    tree, out = make_tree(6), tmp_path / "out"
    (tree.images / tree.rows[9]["image"]).write_bytes(b"no picture")
    options = replace(SMALL, allow_missing=1)
    report = build_shards(tree.read(), out, options)
    before = files(out)
    conversions.clear()
    notes: list[str] = []
    again = build_shards(tree.read(), out, options, on_note=notes.append)
    first, second = (json.loads(json.dumps(r.to_dict())) for r in (report, again))
    assert first == second
    assert "complete already" in notes[-1]
    assert (files(out), conversions) == (before, [])


def test_of_a_finished_data_set_exactly_the_broken_shards_are_replaced(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    table, out = make_tree(6).read(), tmp_path / "out"
    build_shards(table, out, SMALL)
    whole = files(out)
    first, second, *others = sorted(out.glob("*.tar"))
    first.unlink()
    flipped = bytearray(second.read_bytes())
    flipped[700] ^= 1
    second.write_bytes(flipped)
    inodes = [path.stat().st_ino for path in others]
    notes: list[str] = []
    build_shards(table, out, SMALL, on_note=notes.append)
    assert notes == [f"written again: {first.name}, {second.name}"]
    assert files(out) == whole
    assert [path.stat().st_ino for path in others] == inodes


def test_a_broken_shard_stays_if_the_source_no_longer_gives_its_bytes(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    tree, out = make_tree(6), tmp_path / "out"
    build_shards(tree.read(), out, SMALL)
    row = read_manifest(out).frame.row(0, named=True)
    other = next(r["image"] for r in tree.rows if r["image"] != row["source"])
    (tree.images / row["source"]).write_bytes((tree.images / other).read_bytes())
    broken = out / row["shard"]
    broken.write_bytes(broken.read_bytes()[:-1])
    before = files(out)
    with pytest.raises(IntegrityError, match="does not come out as it was written"):
        build_shards(tree.read(), out, SMALL)
    assert files(out) == before


def test_a_list_of_dropped_rows_of_an_attempt_that_failed_does_not_stay(
    make_tree: MakeTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, out = make_tree(6), tmp_path / "out"
    build_shards(tree.read(), tmp_path / "whole", SMALL)
    picture = tree.images / tree.rows[9]["image"]
    content = picture.read_bytes()
    picture.write_bytes(b"no picture")

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("cxr_engine.shards.build.write_manifest", fail)
        with pytest.raises(ResourceError, match="Input/output"):
            build_shards(tree.read(), out, replace(SMALL, allow_missing=1))
    assert (out / "dropped.csv").exists()
    picture.write_bytes(content)
    build_shards(tree.read(), out, SMALL)
    assert files(out) == files(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_stops_after_the_shard_in_hand_with_75_and_continues(
    make_tree: MakeTree,
    typed: Typed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    make_tree(6)
    command = ("shard", "table", "tree/images", "out", "--table", "tree/labels.csv")
    command += ("--sizes", "32", "--jobs", "1", "--allow-empty-val", "--shard-samples", "6")
    handlers = [signal.getsignal(number), signal.getsignal(signal.SIGINT)]
    convert = writer_module.convert
    asked: list[str] = []

    def interrupted(sample: Any, options: Any) -> Any:
        asked.append(sample.key)
        if len(asked) == 8:
            os.kill(os.getpid(), number)
        return convert(sample, options)

    with monkeypatch.context() as patch:
        patch.setattr("cxr_engine.shards.executor.convert", interrupted)
        code, out, err = typed(*command)
    assert (code, out) == (75, "")
    assert "stopping after the shard in hand" in err
    assert "2 of 5 shards are finished" in err
    assert "give the same command again, and it continues" in err.splitlines()[-1]
    assert [signal.getsignal(number), signal.getsignal(signal.SIGINT)] == handlers
    code, out, err = typed(*command)
    assert code == 0
    assert "continuing: 2 of 5 shards" in err
    assert "24" in out


def test_the_second_ctrl_c_stops_at_once(
    make_tree: MakeTree, typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tree(6)
    convert = writer_module.convert
    seen: list[str] = []

    def interrupted(sample: Any, options: Any) -> Any:
        seen.append(sample.key)
        if len(seen) in {7, 8}:
            os.kill(os.getpid(), signal.SIGINT)
        return convert(sample, options)

    monkeypatch.setattr("cxr_engine.shards.executor.convert", interrupted)
    command = ("shard", "table", "tree/images", "out", "--table", "tree/labels.csv")
    command += ("--sizes", "32", "--jobs", "1", "--allow-empty-val", "--shard-samples", "6")
    code, _, _ = typed(*command)
    assert code == 130
    assert len(seen) == 8
    assert len(list((tmp_path / "out").glob("*.tar"))) == 1
    assert not list((tmp_path / "out").glob("*.partial"))
