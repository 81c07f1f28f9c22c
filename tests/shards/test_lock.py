"""One writer at a time: others are refused by name, dead ones are told apart."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from cxr_engine.shards import ResourceError, ShardOptions, build_shards
from cxr_engine.shards.lock import LOCK, Owner, locked, this_process
from cxr_engine.shards.system import SYSTEM

MakeTree = Callable[..., Any]  # returns the Tree of conftest.py
Typed = Callable[..., tuple[int, str, str]]


def take(folder: Path, *, break_lock: bool = False) -> list[str]:
    """What was noted as the lock was taken, held and given back."""
    notes: list[str] = []
    with locked(folder, notes.append, break_lock=break_lock):
        owner = json.loads((folder / LOCK).read_text())
        assert Owner(**owner) == this_process()
    assert not (folder / LOCK).exists()
    return notes


def leave(folder: Path, owner: Owner) -> None:
    (folder / LOCK).write_text(json.dumps(asdict(owner)))


def dead_process() -> Owner:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return replace(this_process(), pid=child)


def test_a_second_writer_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    with locked(tmp_path, print, break_lock=False):
        for break_lock in (False, True):
            with (
                pytest.raises(ResourceError, match=f"process {os.getpid()} on ") as caught,
                locked(tmp_path, print, break_lock=break_lock),
            ):
                pass
            assert caught.value.where == str(tmp_path / LOCK)
    assert take(tmp_path) == []


def test_a_process_that_ended_leaves_a_lock_that_is_taken_over(tmp_path: Path) -> None:
    for owner in (
        dead_process(),
        replace(this_process(), boot="before the power went"),
        replace(this_process(), started=this_process().started - 1),  # its number came again
    ):
        leave(tmp_path, owner)
        (note,) = take(tmp_path)
        assert note == f"a lock that {owner} left behind is taken over"


@pytest.mark.parametrize("half", ["", '{"host": "a', "[]"])
def test_a_lock_that_nobody_came_to_write_into_is_nobodys(tmp_path: Path, half: str) -> None:
    (tmp_path / LOCK).write_text(half)
    assert take(tmp_path) == []


def test_the_lock_of_another_host_is_broken_on_the_users_word_only(tmp_path: Path) -> None:
    owner = replace(dead_process(), host="elsewhere")
    leave(tmp_path, owner)
    with pytest.raises(ResourceError, match="on elsewhere is writing") as caught:
        take(tmp_path)
    assert "--break-lock" in caught.value.remedy
    assert json.loads((tmp_path / LOCK).read_text()) == asdict(owner)
    assert take(tmp_path, break_lock=True) == [f"the lock of {owner} is broken"]


def test_a_broken_owner_that_lives_does_not_take_our_lock_away(tmp_path: Path) -> None:
    first = locked(tmp_path, print, break_lock=False)
    with first:
        (tmp_path / LOCK).unlink()
        with locked(tmp_path, print, break_lock=False):
            first.__exit__(None, None, None)
            assert (tmp_path / LOCK).exists()


def test_what_the_kernel_gave_back_is_free_even_if_its_process_lives(tmp_path: Path) -> None:
    leave(tmp_path, this_process())  # removing it failed
    assert len(take(tmp_path)) == 1


def test_without_the_kernels_locks_the_process_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(SYSTEM, "lock", no_locks)
    leave(tmp_path, this_process())
    with pytest.raises(ResourceError, match="is writing"):
        take(tmp_path)
    leave(tmp_path, dead_process())
    assert len(take(tmp_path)) == 1


def _compete(folder: Path, start: Any, answers: Any) -> None:
    start.wait()
    for _ in range(50):
        try:
            with locked(folder, lambda _: None, break_lock=False):
                mine = folder / f"held-{os.getpid()}"
                mine.touch()
                answers.put(len(list(folder.glob("held-*"))))
                mine.unlink()
        except ResourceError:
            answers.put(0)
    answers.put(None)


def test_of_many_writers_one_at_a_time_wins(tmp_path: Path) -> None:
    context = get_context("fork")
    start, answers = context.Event(), context.Queue()
    processes = [context.Process(target=_compete, args=(tmp_path, start, answers)) for _ in "abcd"]
    for process in processes:
        process.start()
    start.set()
    held: list[int] = []
    running = len(processes)
    while running:
        answer = answers.get(timeout=20)
        running -= answer is None
        held += [answer] if answer else []
    for process in processes:
        process.join()
    assert set(held) == {1}
    assert len(held) >= 1


def test_the_command_refuses_a_folder_in_use(
    make_tree: MakeTree, typed: Typed, tmp_path: Path
) -> None:
    make_tree(4)
    command = ("shard", "table", "tree/images", "out", "--table", "tree/labels.csv")
    command += ("--sizes", "32", "--jobs", "1", "--allow-empty-val")
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out", print, break_lock=False):
        code, _, err = typed(*command)
        assert code == 5
        assert f"process {os.getpid()} on " in err
    leave(tmp_path / "out", replace(dead_process(), host="elsewhere"))
    assert typed(*command)[0] == 5
    code, _, err = typed(*command, "--break-lock")
    assert code == 0
    assert "is broken" in err


def test_a_run_leaves_no_lock(make_tree: MakeTree, tmp_path: Path) -> None:
    options = ShardOptions(size=32, jobs=1, allow_empty_val=True)
    build_shards(make_tree(2).read(), tmp_path / "out", options)
    assert not (tmp_path / "out" / LOCK).exists()
