"""Any source image -> one gray plane -> the stored picture, its renditions and its facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import xxhash

from cxr_engine.shards.decode import read_plane
from cxr_engine.shards.encode import encode, metadata_free_jpeg
from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.fingerprint import difference_hash, plane_hash
from cxr_engine.shards.fit import Fit, needed_shrink, resize
from cxr_engine.shards.plane import ImageLimits
from cxr_engine.shards.window import Window, apply_window, parse_window

Encoding = Literal["jpeg", "png8", "png16"]
SUFFIXES: dict[Encoding, str] = {"jpeg": "jpg", "png8": "png", "png16": "png"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageOptions:
    """How a source image is stored; a wrong window or rendition is a UsageError."""

    size: int = 576  # pixels, square
    renditions: tuple[int, ...] = ()  # sides of smaller copies, pixels
    quality: int = 95  # JPEG, 1–100
    fit: Fit = "squash"
    window: str = "full"  # full | bits | percentile:0.5-99.5 | dicom
    encoding: Encoding = "jpeg"
    keep_original: bool = True  # where the file is a gray baseline JPEG of `size` already
    limits: ImageLimits = field(default_factory=ImageLimits)

    def __post_init__(self) -> None:
        parse_window(self.window)
        wrong = [side for side in self.renditions if not 8 <= side < self.size]
        if wrong or len(set(self.renditions)) < len(self.renditions):
            raise UsageError(
                f"sizes {self.renditions} beside {self.size}",
                "--sizes",
                "name each side once; the largest is the picture, none is under 8 pixels",
            )


@dataclass(frozen=True, slots=True)
class StoredImage:
    """The encoded picture, and what it was made from."""

    data: bytes
    renditions: tuple[bytes, ...]  # in the order of ImageOptions.renditions
    height: int
    width: int
    source_height: int  # upright
    source_width: int
    bits: int  # per pixel and channel of the source: 1, 8 or 16; of a DICOM file BitsStored
    window: str  # how source values became stored ones, with the numbers found
    warning: str | None  # what a person should look at
    source_bytes: int  # of the source file
    source_xxh3: int  # xxh3_64 of the source file
    plane_xxh3: int  # xxh3_64 of the upright plane as decoded, with the source's shape
    dhash: int  # 64-bit difference hash


def store(
    data: bytes, name: str, options: ImageOptions, bits_stored: int | None = None
) -> StoredImage:
    """Decode once and make all that is stored of an image; `name` is for messages.

    bits_stored  significant bits of the pixels where the source's table says so

    An image that cannot be read or is over the limits is a DataError that names it.
    """
    window: Window = parse_window(options.window)
    plane = read_plane(
        data,
        name,
        options.limits,
        needed_shrink(options.size, options.fit),
        voi=window.kind == "dicom",
    )
    depth: Literal[8, 16] = 16 if options.encoding == "png16" else 8
    levels, applied, warning = apply_window(plane, window, bits_stored, depth)
    square = (options.size, options.size)
    original = None
    if (
        options.keep_original
        and options.encoding == "jpeg"
        and plane.is_as_in_file
        and levels is plane.values
        and levels.shape == square
    ):
        original = metadata_free_jpeg(data)
    pixels = resize(levels, options.size, options.fit, plane.extent)
    return StoredImage(
        data=original or encode(pixels, options.encoding, options.quality),
        # Of the stored square: the same picture in small, whatever the fit was.
        renditions=tuple(
            encode(resize(pixels, side), options.encoding, options.quality)
            for side in options.renditions
        ),
        height=pixels.shape[0],
        width=pixels.shape[1],
        source_height=plane.source_height,
        source_width=plane.source_width,
        bits=plane.bits,
        window=applied,
        warning=warning,
        source_bytes=len(data),
        source_xxh3=xxhash.xxh3_64_intdigest(data),
        plane_xxh3=plane_hash(plane),
        dhash=difference_hash(levels),
    )
