"""The whole data set against its manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Any

import polars as pl

from cxr_engine.shards.check import Mode, Picture, Problem, ShardCheck, check_shard
from cxr_engine.shards.errors import IntegrityError, UsageError
from cxr_engine.shards.manifest import MANIFEST, SHARD_NAME, Manifest, read_manifest
from cxr_engine.shards.processors import available_processors
from cxr_engine.shards.tar import MAX_MEMBER
from cxr_engine.shards.tar_header import BLOCK, NAME
from cxr_engine.shards.verify_progress import Progress

_SAVE_EVERY_S = 10.0  # a killed run loses that much
_COLUMNS = ("key", "shard", "member", "offset", "size", "xxh3", "height", "width")

# (shards done, shards in all, bytes of those shards)
OnProgress = Callable[[int, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """What was looked at, and all that is wrong with it."""

    manifest_hash: str
    mode: Mode
    shards: int
    shards_done: int
    samples: int
    bytes: int  # of the shards done
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        return self.shards_done == self.shards

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON holds it."""
        return {"version": 1, "complete": self.is_complete} | asdict(self)


def verify_shards(
    folder: Path | str,
    *,
    full: bool = False,
    decode: bool = False,
    jobs: int | None = None,
    time_limit: float | None = None,
    resume: bool = False,
    on_progress: OnProgress | None = None,
) -> VerifyReport:
    """Every shard of a data set against its manifest; problems are returned, not raised.

    full         every byte against its hash, not only names, sizes, headers and padding
    decode       every picture's pixels too; implies `full`
    time_limit   seconds after which no further shard is begun; at least one is looked at
    resume       go on where a run that was stopped, or killed, had come to
    on_progress  called in this thread after each shard

    Only a manifest that cannot be believed is an error, an IntegrityError or a DataError.
    """
    if time_limit is not None and time_limit <= 0:
        raise UsageError("no time to verify in", "--time-limit", "give more than 0 seconds")
    deadline = None if time_limit is None else monotonic() + time_limit
    mode: Mode = "decode" if decode else "full" if full else "fast"
    manifest = _read(Path(folder), mode)
    progress = Progress(manifest.folder, manifest.hash, mode)
    notes = []
    if resume and (note := progress.load(shard.name for shard in manifest.shards)):
        notes.append(note)
    is_complete = False
    try:
        _check_all(manifest, progress, jobs or available_processors(), deadline, on_progress)
        is_complete = len(progress.done) == len(manifest.shards)
    finally:
        if is_complete:
            _try(progress.remove, notes)
        elif progress.done:
            _try(progress.save, notes)
    return VerifyReport(
        manifest_hash=manifest.hash,
        mode=mode,
        shards=len(manifest.shards),
        shards_done=len(progress.done),
        samples=manifest.frame.height,
        bytes=sum(shard.bytes for shard in manifest.shards if shard.name in progress.done),
        problems=(
            *chain.from_iterable(
                progress.done.get(shard.name, ()) for shard in manifest.shards
            ),
            *_unlisted(manifest),
        ),
        notes=tuple(notes),
    )  # fmt: skip


def _check_all(
    manifest: Manifest,
    progress: Progress,
    jobs: int,
    deadline: float | None,
    on_progress: OnProgress | None,
) -> None:
    sizes = {shard.name: shard.bytes for shard in manifest.shards}
    n_bytes = sum(sizes[name] for name in progress.done)
    checks = _checks(manifest, progress)
    saved = monotonic()
    # Threads, for slow disks and for Pillow, which decodes outside the interpreter's lock. Hashing
    # alone is no faster by more of them: one does 3.6 GB/s (benchmarks/verify.py).
    with ThreadPoolExecutor(jobs) as pool:
        running: dict[Future[tuple[Problem, ...]], str] = {}
        begun = False
        try:
            while True:
                while len(running) < jobs:
                    if begun and deadline is not None and monotonic() >= deadline:
                        break
                    if (check := next(checks, None)) is None:
                        break
                    running[pool.submit(check_shard, check)] = check.name
                    begun = True
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    name = running.pop(future)
                    progress.done[name] = future.result()
                    n_bytes += sizes[name]
                    if on_progress is not None:
                        on_progress(len(progress.done), len(sizes), n_bytes)
                if monotonic() - saved >= _SAVE_EVERY_S:
                    _try(progress.save, [])
                    saved = monotonic()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read(folder: Path, mode: Mode) -> Manifest:
    """The manifest; rows that the writer cannot have written are an IntegrityError."""
    if mode != "fast":  # the columns that are of no use here are checked by reading them
        read_manifest(folder, check_shards=False)
    manifest = read_manifest(folder, _COLUMNS, renditions=True, check_shards=False)
    frame = manifest.frame
    copies = [f":{side}" for side in manifest.renditions]
    wrong = {
        "a cell is empty": frame.null_count().transpose().sum().item() if frame.height else 0,
        "a key comes twice": frame.height - frame["key"].n_unique(),
        "a member is no picture": frame.filter(
            ~pl.col("member").str.contains(rf"^(?:{_PICTURE})$", literal=False)
            | (pl.col("member").str.split(".").list.first() != pl.col("key"))
        ).height,
        "a picture lies at an impossible place": sum(
            frame.filter(
                (pl.col(f"offset{end}") < BLOCK)
                | ~pl.col(f"size{end}").is_between(0, MAX_MEMBER)
            ).height
            for end in ("", *copies)
        ),
    }  # fmt: skip
    for what, count in wrong.items():
        if count:
            raise IntegrityError(
                f"the manifest is damaged: {what}",
                str(folder / MANIFEST),
                "restore the file from a copy, or make the shards again",
            )
    return manifest


_PICTURE = NAME.pattern.decode().replace(r"|\.json", "")


def _checks(manifest: Manifest, progress: Progress) -> Iterator[ShardCheck]:
    """What is left to do, in the order of the shards."""
    rows = manifest.frame.partition_by("shard", as_dict=True)
    empty = manifest.frame.clear()
    for shard in manifest.shards:
        if shard.name not in progress.done:
            frame = rows.get((shard.name,), empty)
            yield ShardCheck(
                folder=str(manifest.folder),
                name=shard.name,
                bytes=shard.bytes,
                xxh3=shard.xxh3,
                pictures=tuple(_pictures(frame, manifest.renditions)),
                mode=progress.mode,
            )


def _pictures(frame: pl.DataFrame, renditions: tuple[int, ...]) -> Iterator[Picture]:
    for row in frame.iter_rows(named=True):
        member, key = row["member"], row["key"]
        place = (row["offset"], row["size"], row["xxh3"])
        yield Picture(member, key, *place, row["height"], row["width"])
        for side in renditions:
            copy = f"{key}.{side}.{member.rpartition('.')[2]}"
            place = (row[f"offset:{side}"], row[f"size:{side}"], row[f"xxh3:{side}"])
            yield Picture(copy, key, *place, side, side)


def _unlisted(manifest: Manifest) -> Iterator[Problem]:
    """Shards beside ours: whoever reads `*.tar` would read them too."""
    listed = {shard.name for shard in manifest.shards}
    for name in sorted(path.name for path in manifest.folder.iterdir()):
        if SHARD_NAME.fullmatch(name) and name not in listed:
            what = "the manifest does not list it, but readers of *.tar would read it"
            yield Problem(shard=name, found=what, remedy="move the file elsewhere")


def _try(write: Callable[[], None], notes: list[str]) -> None:
    """A data set may lie where nothing can be written: verifying it works, resuming does not."""
    try:
        write()
    except OSError as error:
        notes.append(f"how far this run came could not be kept: {error.strerror}")
