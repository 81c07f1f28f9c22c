"""What tells that two pictures are the same, or nearly."""

from __future__ import annotations

import numpy as np
import xxhash
from PIL import Image

from cxr_engine.shards.fit import Levels
from cxr_engine.shards.plane import Plane


def plane_hash(plane: Plane) -> int:
    """xxh3_64 of shape, type and values: equal for equal pixels in whatever file format.

    A JPEG that was decoded at a reduced scale equals other JPEGs of the same content only.
    """
    digest = xxhash.xxh3_64()
    shape = (plane.source_height, plane.source_width, *plane.values.shape)
    digest.update(f"{plane.values.dtype.str} {shape}".encode())
    digest.update(np.ascontiguousarray(plane.values).data)
    return digest.intdigest()


def difference_hash(pixels: Levels) -> int:
    """64 bits, row by row: is a cell of 9 × 8 box means darker than its right neighbour?

    Copies that were scaled or compressed again differ in few bits.
    """
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    # Boxes of whole pixels first: the cells differ by rounding only, in a third of the time.
    small = np.asarray(Image.fromarray(pixels).resize((9, 8), Image.Resampling.BOX, reducing_gap=8))
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")
