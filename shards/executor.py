"""The same shards on any number of local processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from threading import Thread

from cxr_engine.shards.errors import ResourceError
from cxr_engine.shards.writer import ShardResult, ShardTask, write_shard

_POLL_SECONDS = 0.5


class _StoppedError(Exception):
    """The run was given up; raised in a worker to leave its shard."""


@dataclass(frozen=True, slots=True)
class _Link:
    """What a worker shares with the process that started it."""

    n_samples: Synchronized[int]
    stop: Event

    def tick(self) -> None:
        with self.n_samples.get_lock():
            self.n_samples.value += 1
        if self.stop.is_set():
            raise _StoppedError


# Locks and counters reach a spawned process through its initializer only, not with a task.
_LINKS: list[_Link] = []


def run_shards(
    tasks: Iterable[ShardTask],
    jobs: int,
    on_done: Callable[[ShardResult], None] | None = None,
    on_samples: Callable[[int], None] | None = None,
) -> list[ShardResult]:
    """Write all shards; the results are in the order of the tasks, whichever ends first.

    on_done     called in this process as each shard is finished
    on_samples  called in this process now and then with the number of samples done so far

    jobs=1 works in this process. Otherwise processes are spawned, not forked: the caller may
    have threads. A task that fails, Ctrl-C or a dead worker stop the others before their next
    sample.
    """
    on_done = on_done or (lambda _: None)
    on_samples = on_samples or (lambda _: None)
    if jobs == 1:
        return _run_here(tasks, on_done, on_samples)
    return _run_on_workers(tasks, jobs, on_done, on_samples)


def _run_here(
    tasks: Iterable[ShardTask],
    on_done: Callable[[ShardResult], None],
    on_samples: Callable[[int], None],
) -> list[ShardResult]:
    results = []
    n_samples = 0

    def tick() -> None:
        nonlocal n_samples
        n_samples += 1
        on_samples(n_samples)

    for task in tasks:
        results.append(write_shard(task, tick))
        on_done(results[-1])
    return results


def _run_on_workers(
    tasks: Iterable[ShardTask],
    jobs: int,
    on_done: Callable[[ShardResult], None],
    on_samples: Callable[[int], None],
) -> list[ShardResult]:
    context = get_context("spawn")
    link = _Link(context.Value("q", 0), context.Event())
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_start_worker, initargs=(link,)
    )
    results: dict[int, ShardResult] = {}
    running: dict[Future[ShardResult], int] = {}
    queue = enumerate(tasks)
    try:
        while True:
            # Two tasks a worker: none waits for the next, and few are in memory.
            while len(running) < 2 * jobs and (item := next(queue, None)):
                running[pool.submit(_work, item[1])] = item[0]
            if not running:
                return [results[number] for number in sorted(results)]
            done, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                number = running.pop(future)
                results[number] = future.result()
                on_done(results[number])
            on_samples(link.n_samples.value)
    except BrokenProcessPool as error:
        raise ResourceError(
            "a worker process died without a word",
            f"one of {jobs} processes that write shards",
            "mostly the system ended it for want of memory: try fewer --jobs. A script that calls "
            'this must do so under `if __name__ == "__main__":`, or with jobs=1',
        ) from error
    finally:
        link.stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(link: _Link) -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides and sets link.stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _LINKS.append(link)
    Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    # A parent that was killed cannot tell its workers; they would wait for tasks for ever.
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _work(task: ShardTask) -> ShardResult:
    return write_shard(task, _LINKS[0].tick)
