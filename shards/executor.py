"""The same shards on any number of local processes."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice, tee
from multiprocessing import get_context, parent_process, resource_tracker
from threading import Thread

from cxr_engine.shards.errors import ResourceError
from cxr_engine.shards.image import ImageOptions, StoredImage
from cxr_engine.shards.writer import Dropped, Sample, ShardResult, ShardTask, convert, write_shard

# Views that a worker converts at a time. Fewer would cost messages; more would make Ctrl-C wait.
_CHUNK = 8
# Chunks under way per worker: a picture of a hundred times the usual size holds nobody up, and
# the encoded pictures that wait to be packed stay at a few megabytes.
_AHEAD = 6

_Image = StoredImage | Dropped


def run_shards(
    tasks: Iterable[ShardTask],
    jobs: int,
    on_done: Callable[[ShardResult], None] | None = None,
    on_samples: Callable[[int, int], None] | None = None,
    is_stopping: Callable[[], bool] | None = None,
) -> list[ShardResult]:
    """Write all shards, in the order of the tasks, whose results are returned.

    on_done      called in this process as each shard is finished
    on_samples   called in this process after each sample with the number done and the bytes read
    is_stopping  asked before each shard; once it says so, the shards finished by then are returned

    jobs=1 works in this process. Otherwise workers, also more of them than shards, convert the
    pictures of one shard and then the next while this process packs them; they are spawned, not
    forked: the caller may have threads. A task that fails, Ctrl-C or a dead worker stop the others
    within a few samples.
    """
    on_done = on_done or (lambda _: None)
    on_samples = on_samples or (lambda *_: None)
    is_stopping = is_stopping or (lambda: False)
    if jobs == 1:
        tasks, again = tee(tasks)
        here = (convert(sample, task.image) for task in again for sample in task.samples)
        return _pack(tasks, here, on_done, on_samples, is_stopping)
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        tasks, ahead = tee(tasks)
        images = _in_order(pool, ahead, jobs * _AHEAD)
        return _pack(tasks, images, on_done, on_samples, is_stopping)
    except BrokenProcessPool as error:
        raise ResourceError(
            "a worker process died without a word",
            f"one of {jobs} processes that convert images",
            "mostly the system ended it for want of memory: try fewer --jobs. A script that calls "
            'this must do so under `if __name__ == "__main__":`, or with jobs=1',
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pack(
    tasks: Iterable[ShardTask],
    images: Iterator[_Image],
    on_done: Callable[[ShardResult], None],
    on_samples: Callable[[int, int], None],
    is_stopping: Callable[[], bool],
) -> list[ShardResult]:
    results: list[ShardResult] = []
    n_samples = n_bytes = 0

    def counted() -> Iterator[_Image]:
        nonlocal n_samples, n_bytes
        for image in images:
            n_samples += 1
            n_bytes += image.source_bytes if isinstance(image, StoredImage) else 0
            on_samples(n_samples, n_bytes)
            yield image

    all_images = counted()
    for task in tasks:
        if is_stopping():
            break
        results.append(write_shard(task, islice(all_images, len(task.samples))))
        on_done(results[-1])
    return results


def _in_order(pool: Executor, tasks: Iterable[ShardTask], ahead: int) -> Iterator[_Image]:
    """The pictures of all tasks, converted up to `ahead` chunks in front of the reader."""
    chunks = (
        (task.samples[start : start + _CHUNK], task.image)
        for task in tasks
        for start in range(0, len(task.samples), _CHUNK)
    )
    queue: deque[Future[list[_Image]]] = deque()
    while True:
        with _deaf_children():
            more = islice(chunks, ahead - len(queue))
            queue.extend(pool.submit(_convert, *chunk) for chunk in more)
        if not queue:
            return
        yield from queue.popleft().result()


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes started inside never hear Ctrl-C, not even while they start; we hear it afterwards.

    It reaches the whole process group, as SIGTERM may, but the parent alone decides what is done.
    """
    # Started inside, the tracker would unblock the signals.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    Thread(target=_leave_with_parent, daemon=True).start()
    Thread(target=_leave_on_its_word, daemon=True).start()


def _leave_with_parent() -> None:
    # A parent that was killed cannot tell its workers; they would wait for tasks for ever.
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _leave_on_its_word() -> None:
    # The pool ends its workers by SIGTERM when one of them died; from others it is not for us.
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(1)


def _convert(samples: tuple[Sample, ...], options: ImageOptions) -> list[_Image]:
    return [convert(sample, options) for sample in samples]
