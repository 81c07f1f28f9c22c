"""Any source image -> one gray plane within limits -> the stored size -> JPEG."""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cxr_engine.shards.errors import DataError

Fit = Literal["squash", "pad"]

# Formats whose readers are plain decoders: EPS, for one, would start Ghostscript.
_FORMATS = ("PNG", "JPEG", "JPEG2000", "TIFF", "BMP", "GIF", "PPM", "WEBP")
# What Pillow's decoders raise on damaged bytes.
_DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, OverflowError,
    MemoryError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLimits:
    """What a source image may claim, checked before a pixel is decoded."""

    max_pixels: int = 100_000_000
    max_side: int = 20_000  # pixels
    max_bytes: int = 64 * 2**20  # of the file


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageOptions:
    """How a source image is stored."""

    size: int = 576  # pixels, square
    quality: int = 95  # JPEG, 1–100
    fit: Fit = "squash"
    limits: ImageLimits = ImageLimits()


@dataclass(frozen=True, slots=True)
class GrayImage:
    """One upright gray plane and what it was made from."""

    pixels: NDArray[np.uint8]  # (H, W)
    bits: int  # per pixel and channel of the source: 1, 8 or 16
    window: str  # how source values became 8 bits; "full" = the whole range of the type

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]


def read_gray(data: bytes, name: str, limits: ImageLimits) -> GrayImage:
    """Decode by content, whatever the file is called; alpha is dropped, colour becomes luma.

    Turned upright by its EXIF orientation. 16-bit gray becomes 8-bit by full range. Bytes that
    are not one picture within the limits are a DataError that names the file.
    """
    if not data:
        raise _unreadable("the file is empty", name)
    if len(data) > limits.max_bytes:
        raise _over_limit(f"{len(data):,} bytes, the limit is {limits.max_bytes:,}", name)
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata and, below its own limit, of size: ours are checked.
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data), formats=_FORMATS) as image:
                _check(image, name, limits)
                return _gray_plane(ImageOps.exif_transpose(image), name)
    except DataError:
        raise
    except _DAMAGE as error:
        raise _unreadable(f"{type(error).__name__}: {error}", name) from error


def resize(pixels: NDArray[np.uint8], size: int, fit: Fit = "squash") -> NDArray[np.uint8]:
    """A (size, size) plane by Lanczos: `squash` ignores the aspect, `pad` adds black borders."""
    image = Image.fromarray(pixels)
    if fit == "squash":
        return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))
    height, width = pixels.shape
    scale = size / max(height, width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new("L", (size, size))
    corner = ((size - inner[0]) // 2, (size - inner[1]) // 2)
    canvas.paste(image.resize(inner, Image.Resampling.LANCZOS), corner)
    return np.asarray(canvas)


def encode_jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """Gray baseline JPEG without metadata: the same pixels give the same bytes."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(
        buffer, format="JPEG", quality=quality, optimize=False, progressive=False
    )
    return buffer.getvalue()


def _check(image: Image.Image, name: str, limits: ImageLimits) -> None:
    width, height = image.size
    if max(width, height) > limits.max_side:
        raise _over_limit(f"{width} × {height} pixels, the limit is {limits.max_side:,}", name)
    if width * height > limits.max_pixels:
        what = f"{width} × {height} pixels, the limit is {limits.max_pixels:,} in all"
        raise _over_limit(what, name)
    # A JPEG may carry a preview as second frame (MPO); elsewhere frames are different pictures.
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise _unreadable(f"the file holds {frames} pictures", name)


def _gray_plane(image: Image.Image, name: str) -> GrayImage:
    mode = image.mode
    if mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65_535:
            raise _unreadable("32-bit values beyond 16 bits", name)
        # 65535 = 255 × 257, so this is the division by 257, rounded.
        return GrayImage(((values.astype(np.uint32) + 128) // 257).astype(np.uint8), 16, "full")
    if mode == "F":
        raise _unreadable("floating-point pixels have no stated range", name)
    if mode in ("P", "PA"):
        # Straight to gray would warn and guess where the palette has transparency.
        image = image.convert("RGBA")
    if mode == "LA":
        image = image.getchannel("L")
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
    return GrayImage(np.asarray(image.convert("L")), 1 if mode == "1" else 8, "full")


def _unreadable(why: str, name: str) -> DataError:
    return DataError(
        f"not a readable image: {why}",
        name,
        "replace the file, delete its row, or allow losses with --allow-missing N",
    )


def _over_limit(what: str, name: str) -> DataError:
    return DataError(f"too large: {what}", name, "make the image smaller, or delete its row")
