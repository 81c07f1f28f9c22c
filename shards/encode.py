"""The stored square -> JPEG or PNG; a JPEG that is as asked already keeps its pixels."""

from __future__ import annotations

from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image

from cxr_engine.shards.fit import Levels

_SOI, _EOI, _SOS, _SOF0, _DQT, _DHT, _DRI = 0xD8, 0xD9, 0xDA, 0xC0, 0xDB, 0xC4, 0xDD
# JFIF: b"JFIF\0", version 1.01, density 1:1, no thumbnail.
_APP0 = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


def encode(pixels: Levels, encoding: Literal["jpeg", "png8", "png16"], quality: int) -> bytes:
    """Gray baseline JPEG or gray PNG without metadata: the same pixels give the same bytes.

    pixels   (H, W) uint16 for png16, else uint8
    quality  1–100, of the JPEG
    """
    buffer = BytesIO()
    if encoding == "jpeg":
        Image.fromarray(pixels).save(
            buffer, format="JPEG", quality=quality, optimize=False, progressive=False
        )
    else:
        assert pixels.dtype == (np.uint16 if encoding == "png16" else np.uint8)
        Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def metadata_free_jpeg(data: bytes) -> bytes | None:
    """The same gray baseline 8-bit JPEG without comments and application data, else None.

    Tables and scan are copied byte for byte. Whatever follows the end marker is left out.
    None also for bytes that are damaged.
    """
    if data[:2] != bytes((0xFF, _SOI)):
        return None
    parts = [data[:2], _APP0]
    at = 2
    frame_seen = False
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at : at + 2 + length]
        at += 2 + length
        if marker == _SOF0:
            # After the length: precision, height, width, number of components.
            frame_seen = len(segment) >= 10 and segment[4] == 8 and segment[9] == 1
            if not frame_seen:
                return None
            parts.append(segment)
        elif marker in (_DQT, _DHT, _DRI):
            parts.append(segment)
        elif marker == _SOS:
            # One component has one scan; inside it every 0xFF is followed by 0 or a restart.
            end = data.find(bytes((0xFF, _EOI)), at)
            return (
                b"".join((*parts, segment, data[at : end + 2])) if frame_seen and end > 0 else None
            )
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            return None  # another kind of frame, or damage
    return None
