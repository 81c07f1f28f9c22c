"""Encoded bytes, fetched early by threads, checked, and replaced by policy where they are bad.

DALI's process dies or stays broken on some bad inputs, so nothing reaches it unchecked: bounds, the
hash that the shard writer recorded, the first and the last bytes of a JPEG or PNG.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from cxr_engine.engine.samples import Samples
from cxr_engine.shards.errors import IntegrityError, ResourceError
from cxr_engine.shards.store import LocalStore

# First and last bytes of a whole picture, by the ending of its member.
_ENDS = {
    "jpg": (b"\xff\xd8\xff", b"\xff\xd9"),
    "png": (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"),
}
_SUBSTITUTES = 16  # tries before giving up: a data set this broken should fail


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """The rows of one batch.

    rows      (B,) int64 row of the split
    position  (B,) int64 position in the epoch, from which a substitute is drawn
    valid     (B,) bool
    """

    step: int
    epoch: int
    rows: NDArray[np.int64]
    position: NDArray[np.int64]
    repeats: NDArray[np.int64]
    valid: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """The same rows after the checks: substitutes named, dropped rows no longer valid."""

    request: Request
    rows: NDArray[np.int64]
    valid: NDArray[np.bool_]
    data: list[NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True, slots=True)
class BadSample:
    """One sample that failed the checks."""

    key: str
    shard: str
    member: str
    found: str


class Fetcher:
    """Threads that bring batches of checked bytes in order, `read_ahead` batches early."""

    def __init__(
        self,
        samples: Samples,
        *,
        on_bad: Literal["fail", "substitute", "invalidate"],
        bad_budget: int,
        threads: int,
        read_ahead: int,
        seed: int,
    ) -> None:
        self._samples = samples
        self._store = LocalStore(samples.folder)
        self._on_bad = on_bad
        self._budget = bad_budget
        self._read_ahead = read_ahead
        self._seed = seed
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cxr-fetch")
        self._bad: dict[int, BadSample] = {}
        self._lock = threading.Lock()

    @property
    def bad(self) -> list[BadSample]:
        """Every bad sample met so far, each once, in manifest order."""
        with self._lock:
            return [self._bad[row] for row in sorted(self._bad)]

    def batches(self, requests: Iterable[Request]) -> Iterator[Fetched]:
        """Fetched batches in the order of the requests; the policy's error is raised in its turn."""
        waiting: list[tuple[Request, list[Future[tuple[int, bytes, bool]]]]] = []
        try:
            for request in requests:
                waiting.append(
                    (request, [self._submit(request, i) for i in range(len(request.rows))])
                )
                if len(waiting) > self._read_ahead:
                    yield _collect(*waiting.pop(0))
            while waiting:
                yield _collect(*waiting.pop(0))
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._store.close()

    def _submit(self, request: Request, i: int) -> Future[tuple[int, bytes, bool]]:
        return self._pool.submit(
            self._fetch, int(request.rows[i]), request.epoch, int(request.position[i])
        )

    def _fetch(self, row: int, epoch: int, position: int) -> tuple[int, bytes, bool]:
        """Row delivered, its bytes, and whether they may count."""
        data, found = self._read(row)
        if found is None:
            return row, data, True
        self._report(row, found)
        for attempt in range(_SUBSTITUTES):
            draw = xxhash.xxh3_64_intdigest(f"{self._seed}/{epoch}/{position}/{attempt}".encode())
            other = draw % len(self._samples)
            data, found = self._read(other)
            if found is None:
                return other, data, self._on_bad == "substitute"
            self._report(other, found)
        raise IntegrityError(
            f"{_SUBSTITUTES} substitutes in a row are bad",
            str(self._samples.folder),
            "run cxr-engine shard again into a new folder",
        )

    def _read(self, row: int) -> tuple[bytes, str | None]:
        """Bytes of one sample, and what is wrong with them."""
        samples = self._samples
        try:
            data = self._store.read(
                samples.shard[row], int(samples.offset[row]), int(samples.size[row])
            )
        except (IntegrityError, ResourceError) as error:
            return b"", f"cannot be read: {error.what}"
        return data, check_picture(data, samples.member[row], int(samples.xxh3[row]))

    def _report(self, row: int, found: str) -> None:
        """Count a bad sample once; fail where the policy says so or the budget is spent."""
        samples = self._samples
        bad = BadSample(
            key=samples.keys[row], shard=samples.shard[row], member=samples.member[row], found=found
        )
        with self._lock:
            self._bad.setdefault(row, bad)
            met = len(self._bad)
        where = f"shard {bad.shard}, member {bad.member}, key {bad.key}"
        if self._on_bad == "fail":
            raise IntegrityError(
                f"a sample is bad: {found}",
                where,
                'copy the shard again from its origin, or set on_bad="substitute" with a bad_budget',
            )
        if met > self._budget:
            raise IntegrityError(
                f"{met} bad samples, {self._budget} are tolerated; the last one: {found}",
                where,
                "copy the shards again from their origin, or raise bad_budget",
            )


def check_picture(data: bytes, member: str, xxh3: int) -> str | None:
    """What is wrong with the bytes of a member whose recorded hash is `xxh3`; None if nothing is."""
    if xxhash.xxh3_64_intdigest(data) != xxh3:
        return "its bytes do not have the hash of the manifest"
    ending = member.rpartition(".")[2]
    if ending not in _ENDS:
        return f"pictures are {' or '.join(_ENDS)}, not {ending}"
    start, end = _ENDS[ending]
    if not data.startswith(start):
        return f"it does not start as a {ending} does"
    if not data.endswith(end):
        return f"it has no end marker: the {ending} is truncated"
    return None


def _collect(request: Request, futures: list[Future[tuple[int, bytes, bool]]]) -> Fetched:
    results = [future.result() for future in futures]
    return Fetched(
        request=request,
        rows=np.array([row for row, _, _ in results], np.int64),
        valid=request.valid & np.array([counts for _, _, counts in results], bool),
        data=[np.frombuffer(data, np.uint8) for _, data, _ in results],
    )
