"""Shards on processes: order, failure and interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import pytest
from PIL import Image

from cxr_engine.shards.errors import ResourceError
from cxr_engine.shards.executor import run_shards
from cxr_engine.shards.image import ImageOptions
from cxr_engine.shards.writer import Sample, ShardTask


def make_tasks(folder: Path, sizes: tuple[int, ...]) -> list[ShardTask]:
    picture = folder / "picture.png"
    Image.linear_gradient("L").save(picture)
    out = folder / "out"
    out.mkdir()
    return [
        ShardTask(
            folder=str(out),
            name=f"train-{number:06d}.tar",
            samples=tuple(
                Sample(row, f"k{row}", str(picture), "p", "s", "frontal", None, "train", None, (1,))
                for row in range(size)
            ),
            class_names=("Mass",),
            class_hash="0",
            image=ImageOptions(size=16, quality=90),
        )
        for number, size in enumerate(sizes)
    ]


def test_results_come_in_task_order_and_are_those_of_one_process(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path, (300, 1, 2, 3, 4, 5, 6))
    done: list[str] = []
    counts: list[int] = []
    here = run_shards(tasks, 1)
    there = run_shards(
        iter(tasks),
        2,
        on_done=lambda shard: done.append(shard.name),
        on_samples=lambda n, _: counts.append(n),
    )
    assert there == here
    assert done == [task.name for task in tasks]
    assert counts[-1] == 321
    assert counts == sorted(counts)


def test_workers_share_a_shard_and_run_ahead_of_the_next(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path, (100, 20))
    alone = run_shards(tasks, 1)
    content = [Path(task.folder, task.name).read_bytes() for task in tasks]
    workers: set[int] = set()

    def look(n_samples: int, n_bytes: int) -> None:
        workers.update(child.pid for child in active_children())

    assert run_shards(tasks, 3, on_samples=look) == alone  # three workers, two shards
    assert len(workers) == 3
    assert [Path(task.folder, task.name).read_bytes() for task in tasks] == content


def test_bytes_read_are_counted(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path, (3, 2))
    counts: list[tuple[int, int]] = []
    run_shards(tasks, 1, on_samples=lambda *count: counts.append(count))
    size = (tmp_path / "picture.png").stat().st_size
    assert counts == [(n, n * size) for n in range(1, 6)]


def test_a_failing_task_reaches_the_caller_as_it_is(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path, (1, 1))
    Path(tasks[0].folder).rmdir()
    for jobs in (1, 2):
        with pytest.raises(ResourceError, match="cannot be written"):
            run_shards(tasks, jobs)


def test_a_dead_worker_is_a_resource_error(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path, (1, 1))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # opening it blocks the worker until it is killed
    blocked = Sample(0, "k", str(pipe), "p", "s", "frontal", None, "train", None, (1,))
    stuck = ShardTask(
        **{name: getattr(tasks[1], name) for name in ShardTask.__slots__} | {"samples": (blocked,)}
    )

    def kill(n_samples: int, n_bytes: int) -> None:
        if n_samples:  # the other task is done: both workers are up
            for child in active_children():
                os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(ResourceError, match="worker process died"):
        run_shards([tasks[0], stuck], 2, on_samples=kill)
    assert not list(Path(tasks[0].folder).glob("train-000001.tar"))


SCRIPT = """
import sys
from pathlib import Path
from cxr_engine.shards import ShardOptions, TableColumns, build_shards, read_table

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    table = read_table(folder / "t.csv", folder / "images", TableColumns(patient="none"))
    def say(what, done, total, n_bytes):
        if done:
            print(done, flush=True)
    options = ShardOptions(jobs=2, shard_samples=200, size=2000, allow_duplicates=True)
    build_shards(table, folder / "out", options, say)
"""


def start_long_run(folder: Path) -> subprocess.Popen[str]:
    """A run of 20 s or so on two processes, in its own process group, that is under way."""
    (folder / "images").mkdir()
    lines = ["image,Mass"]
    for number in range(600):
        Image.new("L", (8, 8)).save(folder / "images" / f"{number}.png")
        lines.append(f"{number}.png,{number % 2}")
    (folder / "t.csv").write_text("\n".join(lines))
    script = folder / "script.py"
    script.write_text(SCRIPT)
    run = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert run.stdout is not None
    assert int(run.stdout.readline()) > 0
    return run


def group_is_gone(group: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_ctrl_c_stops_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    run = start_long_run(tmp_path)
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=15)
    assert errors.count("Traceback") == 1  # the caller's; the workers are silent
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not (tmp_path / "out").exists()
    assert group_is_gone(run.pid, 5)


def test_a_killed_run_takes_its_workers_along_and_leaves_no_manifest(tmp_path: Path) -> None:
    run = start_long_run(tmp_path)
    run.kill()
    run.communicate(timeout=15)
    assert group_is_gone(run.pid, 10)
    assert not (tmp_path / "out" / "manifest.parquet").exists()
