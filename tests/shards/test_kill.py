"""SIGKILL at any moment of a run: the same call completes it, to the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cxr_engine.shards import ShardOptions, build_shards, read_manifest

MakeTree = Callable[..., Any]  # returns the Tree of conftest.py
SMALL = ShardOptions(size=32, jobs=1, shard_samples=6, allow_empty_val=True)
SEED = 20240


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_a_killed_run_is_completed_by_the_same_call(
    make_tree: MakeTree, tmp_path: Path, faults: int, jobs: int
) -> None:
    table = make_tree(10).read()
    options = replace(SMALL, jobs=jobs)
    # From a server that has imported all and run nothing: polars' threads do not outlive a fork.
    context = get_context("forkserver")
    context.set_forkserver_preload(["cxr_engine.shards.build", "cxr_engine.shards.dicom"])

    def start(out: Path) -> BaseProcess:
        child = context.Process(target=build_shards, args=(table, out, options))
        child.start()
        return child

    start(tmp_path / "first").join(60)  # starts the server too
    started = time.monotonic()
    start(tmp_path / "whole").join(60)
    seconds = time.monotonic() - started
    whole = files(tmp_path / "whole")
    assert read_manifest(tmp_path / "whole").frame["key"].n_unique() == 40
    random = Random(SEED + jobs)
    print(f"seed {SEED + jobs}, {seconds:.2f} s undisturbed")
    n_killed = n_left = 0
    # Runs with workers spend most of their time on starting these: later kills.
    for trial in range(faults):
        out = tmp_path / f"out{trial}"
        for _ in range(random.randint(1, 2)):  # some reruns are killed as well
            child = start(out)
            child.join(random.uniform(0.0 if jobs == 1 else 0.6, 1.05) * seconds)
            n_killed += child.exitcode is None
            child.kill()
            child.join(60)
        done = {path.name: path.read_bytes() for path in out.glob("*.tar")}
        assert done.items() <= whole.items()
        n_left += bool(done)
        build_shards(table, out, SMALL)
        assert files(out) == whole, f"trial {trial}"
    print(f"{n_killed} killed, {n_left} of {trial + 1} with finished shards")
    assert n_killed > 0
