"""One gray plane as decoded, what it may claim, and how it is refused."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from PIL import Image

from cxr_engine.shards.errors import DataError
from cxr_engine.shards.fit import Levels

# What Pillow's decoders raise on damaged bytes.
DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, OverflowError,
    MemoryError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLimits:
    """What a source image may claim, checked before a pixel is decoded."""

    max_pixels: int = 100_000_000
    max_side: int = 20_000  # pixels
    max_bytes: int = 64 * 2**20  # of the file

    def check_size(self, width: int, height: int, name: str) -> None:
        if max(width, height) > self.max_side:
            raise over_limit(f"{width} × {height} pixels, the limit is {self.max_side:,}", name)
        if width * height > self.max_pixels:
            what = f"{width} × {height} pixels, the limit is {self.max_pixels:,} in all"
            raise over_limit(what, name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plane:
    """One upright gray plane in the values of its file; more is brighter."""

    values: Levels  # (H, W)
    source_height: int  # upright; larger than H where the file was decoded at a reduced scale
    source_width: int
    bits: int  # per pixel and channel of the file: 1, 8 or 16; of a DICOM file BitsStored
    white: int  # the value that stands for white
    voi: str | None = None  # the window of the DICOM file that `values` went through
    scale: int = 1  # how many times smaller than the source it was decoded
    is_as_in_file: bool = False  # neither turned, scaled nor converted

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width that the picture covers: the last row and column may be partial.

        A side of 763 that stands for 3,050 / 4 covers 762.5; to ignore that costs up to 8 dB.
        """
        return self.source_height / self.scale, self.source_width / self.scale


def unreadable(why: str, name: str) -> DataError:
    return DataError(
        f"not a readable image: {why}",
        name,
        "replace the file, delete its row, or allow losses with --allow-missing N",
    )


def over_limit(what: str, name: str) -> DataError:
    return DataError(f"too large: {what}", name, "make the image smaller, or delete its row")
