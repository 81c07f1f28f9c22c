"""One shard: the converted pictures of one plan, packed atomically."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from cxr_engine.shards.errors import DataError, IntegrityError, ResourceError
from cxr_engine.shards.image import SUFFIXES, ImageOptions, StoredImage, store
from cxr_engine.shards.plane import ImageLimits
from cxr_engine.shards.publish import published, remove, sync_folder

_MANIFEST_FACTS = (
    "member", "offset", "size", "xxh3", "height", "width", "source_height", "source_width",
    "bits", "window",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """One view to write."""

    row: int  # whoever laid out the shard finds the view again by this number
    key: str
    path: str  # absolute
    patient: str
    study: str
    view: str
    view_position: str | None
    split: str
    bits_stored: int | None
    labels: tuple[int | None, ...]  # in the order of the class list


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """All that a worker needs: the same task gives the same bytes anywhere."""

    folder: str
    name: str
    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]
    class_hash: str
    image: ImageOptions
    xxh3: str | None = None  # of the file that must come out; None if it is not known yet


@dataclass(frozen=True, slots=True)
class Rendition:
    """Where a smaller copy of a picture lies in the shard."""

    side: int  # pixels
    offset: int
    size: int  # bytes
    xxh3: int


@dataclass(frozen=True, slots=True)
class Member:
    """Where the picture of a row lies in the shard, and what it was made from."""

    row: int
    member: str
    offset: int  # of the picture's first byte
    size: int  # bytes
    xxh3: int  # xxh3_64 of those bytes
    height: int
    width: int
    source_height: int
    source_width: int
    bits: int
    window: str
    renditions: tuple[Rendition, ...]
    source_xxh3: int  # xxh3_64 of the source file
    plane_xxh3: int  # xxh3_64 of the decoded upright plane and its shape
    dhash: int  # 64-bit difference hash of the plane
    warning: str | None  # what a person should look at

    def columns(self) -> dict[str, Any]:
        """What the manifest says of the row, by column."""
        facts = {name: getattr(self, name) for name in _MANIFEST_FACTS}
        for copy in self.renditions:
            facts |= {
                f"offset:{copy.side}": copy.offset,
                f"size:{copy.side}": copy.size,
                f"xxh3:{copy.side}": copy.xxh3,
            }
        return facts


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that is not in the shards, and why."""

    row: int
    reason: str  # missing | unreadable
    what: str


@dataclass(frozen=True, slots=True)
class ShardResult:
    """A shard as it lies on disk; without members there is no file."""

    name: str
    members: tuple[Member, ...]
    dropped: tuple[Dropped, ...]
    bytes: int
    xxh3: str  # xxh3_64 of the whole file, hex


def convert(sample: Sample, options: ImageOptions) -> StoredImage | Dropped:
    """Read and convert the picture of one view; what cannot be read is dropped with its reason."""
    try:
        data = _read_source(sample, options.limits)
        return store(data, sample.path, options, sample.bits_stored)
    except DataError as error:
        return Dropped(sample.row, "unreadable", error.what)


def write_shard(task: ShardTask, images: Iterable[StoredImage | Dropped]) -> ShardResult:
    """Write `task.name`, whole or not at all.

    images  of the samples of the task, in their order; what raises while they are made stops
            the shard
    """
    path = Path(task.folder, task.name)
    members: list[Member] = []
    dropped: list[Dropped] = []
    try:
        with published(path) as file:
            tar = _Tar(file)
            for sample, image in zip(task.samples, images, strict=True):
                if isinstance(image, Dropped):
                    dropped.append(image)
                else:
                    members.append(_add(tar, sample, image, task))
            tar.close()
            if task.xxh3 not in (None, tar.xxh3):
                raise IntegrityError(
                    "the shard does not come out as it was written at first",
                    str(path),
                    "the pictures of the source, or the libraries that read and write them, are "
                    "others than they were: make the data set again in another folder",
                )
        if not members:
            remove(path)
            sync_folder(path.parent)
    except OSError as error:
        raise ResourceError(
            f"a shard cannot be written: {error.strerror}",
            str(path),
            "free some space on the disk, or choose another output folder",
        ) from error
    return ShardResult(task.name, tuple(members), tuple(dropped), tar.size, tar.xxh3)


def _read_source(sample: Sample, limits: ImageLimits) -> bytes:
    try:
        with Path(sample.path).open("rb") as file:
            return file.read(limits.max_bytes + 1)  # one more tells that there is too much
    except OSError as error:
        raise DataError(f"{error.strerror}", sample.path, "check the file") from error


def _add(tar: _Tar, sample: Sample, image: StoredImage, task: ShardTask) -> Member:
    description = {
        "key": sample.key,
        "patient": sample.patient,
        "study": sample.study,
        "view": sample.view,
        "view_position": sample.view_position,
        "split": sample.split,
        "class_hash": task.class_hash,
        "labels": dict(zip(task.class_names, sample.labels, strict=True)),
        "height": image.height,
        "width": image.width,
    }
    suffix = SUFFIXES[task.image.encoding]
    member = f"{sample.key}.{suffix}"
    offset = tar.add(member, image.data)
    renditions = tuple(
        Rendition(
            side,
            tar.add(f"{sample.key}.{side}.{suffix}", data),
            len(data),
            xxhash.xxh3_64_intdigest(data),
        )
        for side, data in zip(task.image.renditions, image.renditions, strict=True)
    )
    text = json.dumps(description, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    tar.add(f"{sample.key}.json", text.encode())
    return Member(
        row=sample.row,
        member=member,
        offset=offset,
        size=len(image.data),
        xxh3=xxhash.xxh3_64_intdigest(image.data),
        height=image.height,
        width=image.width,
        source_height=image.source_height,
        source_width=image.source_width,
        bits=image.bits,
        window=image.window,
        renditions=renditions,
        source_xxh3=image.source_xxh3,
        plane_xxh3=image.plane_xxh3,
        dhash=image.dhash,
        warning=image.warning,
    )


class _Tar:
    """A USTAR file, byte for byte what webdataset.TarWriter(user="", group="", mtime=0) writes.

    webdataset itself would import torch into every worker: 2.5 s and 670 MB each.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = xxhash.xxh3_64()
        self.size = 0

    @property
    def xxh3(self) -> str:
        return self._digest.hexdigest()

    def add(self, name: str, payload: bytes) -> int:
        """Append a member and return the offset of its payload."""
        info = tarfile.TarInfo(name)
        info.size = len(payload)
        info.mode = 0o444
        self._write(info.tobuf(tarfile.USTAR_FORMAT))
        offset = self.size
        self._write(payload)
        self._pad(tarfile.BLOCKSIZE)
        return offset

    def close(self) -> None:
        """Append the two end blocks, and fill the record as tar does."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._pad(tarfile.RECORDSIZE)

    def _pad(self, block: int) -> None:
        self._write(bytes(-self.size % block))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)
