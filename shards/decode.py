"""Bytes of an image file -> one upright gray plane within limits, by content, not by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from cxr_engine.shards.errors import DataError
from cxr_engine.shards.fit import Levels
from cxr_engine.shards.plane import DAMAGE, ImageLimits, Plane, over_limit, unreadable

# Formats whose readers are plain decoders: EPS, for one, would start Ghostscript.
_FORMATS = ("PNG", "JPEG", "JPEG2000", "TIFF", "BMP", "GIF", "PPM", "WEBP")


def read_plane(
    data: bytes,
    name: str,
    limits: ImageLimits,
    shrink: Callable[[int, int], float] | None = None,
    *,
    voi: bool = False,
) -> Plane:
    """Decode by content; alpha is dropped, colour becomes luma, the picture is turned upright.

    shrink  (height, width) -> how many times smaller the picture will be stored: a JPEG may then
            be decoded at a reduced scale
    voi     apply the VOI LUT or window of a DICOM file

    Bytes that are not one picture within the limits are a DataError that names the file.
    """
    if not data:
        raise unreadable("the file is empty", name)
    if len(data) > limits.max_bytes:
        raise over_limit(f"{len(data):,} bytes, the limit is {limits.max_bytes:,}", name)
    if data[128:132] == b"DICM":
        # Only who has DICOM files needs pydicom.
        from cxr_engine.shards.dicom import read_dicom_plane  # noqa: PLC0415

        return read_dicom_plane(data, name, limits, voi=voi)
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata and, below its own limit, of size: ours are checked.
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data), formats=_FORMATS) as image:
                limits.check_size(*image.size, name)
                return _gray_plane(image, name, shrink)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        # Pillow has a limit of its own, about twice ours, and checks it on opening.
        raise over_limit(str(error), name) from error
    except UnidentifiedImageError as error:
        # Its own text has an address in memory, and the account must be the same in each run.
        raise unreadable("of no known format, or cut in its header", name) from error
    except DAMAGE as error:
        raise unreadable(f"{type(error).__name__}: {error}", name) from error


def _gray_plane(image: Image.Image, name: str, shrink: Callable[[int, int], float] | None) -> Plane:
    # A JPEG may carry a preview as second frame (MPO); elsewhere frames are different pictures.
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise unreadable(f"the file holds {frames} pictures", name)
    width, height = image.size
    mode, orientation = image.mode, image.getexif().get(ExifTags.Base.Orientation, 1)
    scale = 1
    if image.format in ("JPEG", "MPO"):
        if shrink and orientation == 1:  # turned, the partial rows could be the first ones
            scale = _scale(shrink(height, width))
        # Also at full scale: libjpeg then leaves out the chroma of a colour picture.
        image.draft("L", (width // scale, height // scale))
        scale = round(width / image.width)  # what the decoder really does
    values, bits = _values(ImageOps.exif_transpose(image), name)
    if scale == 1:  # else it is as in the file; turned, the sides may have changed places
        height, width = values.shape
    return Plane(
        values=values,
        source_height=height,
        source_width=width,
        bits=bits,
        white=65_535 if bits == 16 else 255,
        scale=scale,
        is_as_in_file=mode == "L" and orientation == 1 and scale == 1,
    )


def _scale(ratio: float) -> int:
    """The largest reduction that libjpeg has and that leaves the wanted size at least."""
    return max((scale for scale in (2, 4, 8) if scale <= ratio), default=1)


def _values(image: Image.Image, name: str) -> tuple[Levels, int]:
    mode = image.mode
    if mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65_535:
            raise unreadable("32-bit values beyond 16 bits", name)
        return values.astype(np.uint16, copy=False), 16
    if mode == "F":
        raise unreadable("floating-point pixels have no stated range", name)
    if mode in ("P", "PA"):
        # Straight to gray would warn and guess where the palette has transparency.
        image = image.convert("RGBA")
    if mode == "LA":
        image = image.getchannel("L")
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
    return np.asarray(image.convert("L")), 1 if mode == "1" else 8
