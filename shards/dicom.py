"""The picture of a DICOM file, as a plane in which more is brighter. Needs the extra `dicom`."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_engine.shards.errors import DataError, ResourceError
from cxr_engine.shards.fit import Levels
from cxr_engine.shards.plane import DAMAGE, ImageLimits, Plane, unreadable

if TYPE_CHECKING:
    from pydicom import Dataset

# All that is parsed of a file: nothing that could name a person.
_TAGS = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "ModalityLUTSequence", "RescaleIntercept", "RescaleSlope", "RescaleType", "VOILUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "PixelData",
)  # fmt: skip
_GRAY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_RAW = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_RLE = "1.2.840.10008.1.2.5"
_JPEG = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81))
_JPEG2000 = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 202, 203))
# Inflating is done by pydicom in one piece, however large that becomes.
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_ROWS = 256  # at a time


def read_dicom_plane(data: bytes, name: str, limits: ImageLimits, *, voi: bool) -> Plane:
    """One frame: signed values shifted, Modality LUT applied, MONOCHROME1 inverted.

    voi  apply the VOI LUT, else the first window, where the file has one; the plane then spans
         16 bits

    Several frames, other colour models, and sizes that disagree with the limits or with the
    compressed picture are a DataError that names the file.
    """
    dicom = import_pydicom(name)
    if _DEFLATED in data:
        raise unreadable("a deflated DICOM file; write it again without compression", name)
    try:
        with unchecked(dicom):
            header = dicom.dcmread(BytesIO(data), specific_tags=list(_TAGS))
            _check(header, name, limits)
            _check_decoder(header, name)
            return _plane(header, voi=voi)
    except (DataError, ResourceError):
        raise
    except dicom_damage(dicom) as error:
        # The text of the error may quote the header.
        raise unreadable(f"a damaged DICOM file ({type(error).__name__})", name) from error


def import_pydicom(name: str) -> Any:
    """pydicom, or a ResourceError that says how to get it; `name` is what wants to be read."""
    try:
        import pydicom  # noqa: PLC0415
        import pydicom.pixels  # noqa: PLC0415
    except ImportError as error:
        raise ResourceError(
            "DICOM files need pydicom", name, 'pip install "cxr-engine[dicom]"'
        ) from error
    return pydicom


@contextmanager
def unchecked(dicom: Any) -> Iterator[None]:
    """Values that break the standard's form are common; pydicom would log each, quoting it."""
    settings = dicom.config.settings
    mode = settings.reading_validation_mode
    settings.reading_validation_mode = dicom.config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        settings.reading_validation_mode = mode


def dicom_damage(dicom: Any) -> tuple[type[Exception], ...]:
    """What pydicom and its decoders raise on damaged bytes."""
    errors = dicom.errors
    own = (errors.InvalidDicomError, errors.BytesLengthException)
    return (*DAMAGE, *own, AttributeError, AssertionError)


def _check(header: Dataset, name: str, limits: ImageLimits) -> None:
    if "PixelData" not in header:
        raise unreadable("a DICOM file without a picture", name)
    height, width = int(header.Rows), int(header.Columns)
    limits.check_size(width, height, name)
    if (frames := int(header.get("NumberOfFrames") or 1)) > 1:
        raise unreadable(f"the file holds {frames} frames; one view is one frame", name)
    kind = str(header.PhotometricInterpretation)
    if kind not in (*_GRAY, *_COLOUR):
        raise unreadable(f"pixels of the kind {kind!r}", name)
    allocated, stored = int(header.BitsAllocated), int(header.BitsStored)
    if not 1 <= stored <= allocated or allocated not in (8, 16):
        raise unreadable(f"{stored} bits stored in {allocated}", name)
    if kind in _COLOUR and stored != 8:
        raise unreadable(f"colour of {stored} bits", name)


def _check_decoder(header: Dataset, name: str) -> None:
    """Refuse what no decoder is there for, and a compressed picture larger than it says."""
    from pydicom.encaps import generate_frames  # noqa: PLC0415
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415

    syntax = header.file_meta.TransferSyntaxUID
    if syntax not in (*_RAW, _RLE, *_JPEG, *_JPEG2000):
        raise unreadable(f"the transfer syntax {syntax.name!r}", name)
    if not get_decoder(syntax).is_available:
        raise DataError(
            f"no decoder for {syntax.name}",
            name,
            'pip install "cxr-engine[dicom]"; for lossless JPEG also python-gdcm',
        )
    if syntax in (*_JPEG, *_JPEG2000):
        frame = next(generate_frames(header.PixelData, number_of_frames=1))
        claimed = _jpeg2000_size(frame) if syntax in _JPEG2000 else _jpeg_size(frame)
        if claimed != (int(header.Rows), int(header.Columns)):
            what = f"{claimed[0]} rows and {claimed[1]} columns" if claimed else "no size"
            raise unreadable(
                f"the compressed picture claims {what}, the header {header.Rows} and "
                f"{header.Columns}",
                name,
            )


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    """Height and width from the frame header of JPEG, lossless JPEG or JPEG-LS."""
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            height, width = struct.unpack_from(">HH", frame, at + 5)
            return height, width
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _jpeg2000_size(frame: bytes) -> tuple[int, int] | None:
    """Height and width from the SIZ segment, which comes first, also inside a JP2 file."""
    at = frame.find(b"\xff\x4f\xff\x51")
    if at < 0 or at + 24 > len(frame):
        return None
    right, bottom, left, top = struct.unpack_from(">4I", frame, at + 8)
    return bottom - top, right - left


def _plane(header: Dataset, *, voi: bool) -> Plane:
    pixels = header.pixel_array
    height, width = pixels.shape[:2]
    if header.PhotometricInterpretation in _COLOUR:
        luma = np.asarray(Image.fromarray(pixels).convert("L"))
        return Plane(values=luma, source_height=height, source_width=width, bits=8, white=255)
    stored_bits = int(header.BitsStored)
    lowest = -(1 << (stored_bits - 1)) if header.PixelRepresentation else 0
    levels, white, record = _levels(header, lowest, 1 << stored_bits, voi=voi)
    values: Levels = np.empty(pixels.shape, levels.dtype)
    for top in range(0, height, _ROWS):
        part = pixels[top : top + _ROWS].astype(np.int32) - lowest
        values[top : top + _ROWS] = levels[part.clip(0, levels.size - 1)]
    return Plane(
        values=values,
        source_height=height,
        source_width=width,
        bits=stored_bits,
        white=white,
        voi=record,
    )


def _levels(
    header: Dataset, lowest: int, n_values: int, *, voi: bool
) -> tuple[Levels, int, str | None]:
    """Level of each stored value from the lowest on; the level of white; the window applied."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi  # noqa: PLC0415

    stored = np.arange(lowest, lowest + n_values)
    kind = np.int16 if header.PixelRepresentation else np.uint16
    units: NDArray[Any] = apply_modality_lut(stored.astype(kind), header)
    record = None
    if voi and header.get("VOILUTSequence"):
        item = header.VOILUTSequence[0]
        bits = int(item.LUTDescriptor[2])
        share = apply_voi(units, header, index=0) / ((1 << bits) - 1)
        record = f"LUT of {bits} bits"
    elif voi and header.get("WindowWidth") is not None:
        centre, width = _first(header.WindowCenter), _first(header.WindowWidth)
        function = str(header.get("VOILUTFunction") or "LINEAR")
        share = _windowed(units.astype(np.float64), centre, width, function)
        record = f"{function.lower()} {centre:g}/{width:g}"
    elif header.get("ModalityLUTSequence"):
        bits = int(header.ModalityLUTSequence[0].LUTDescriptor[2])
        return _oriented(header, units.astype(np.uint16), (1 << bits) - 1), (1 << bits) - 1, None
    else:
        # A straight line: the stored values themselves, upside down where it falls.
        plain = stored - lowest
        levels: Levels = plain.astype(np.uint16) if n_values > 256 else plain.astype(np.uint8)
        if units[0] > units[-1]:
            levels = levels[::-1]
        return _oriented(header, levels, n_values - 1), n_values - 1, None
    shown = np.rint(np.clip(share, 0.0, 1.0) * 65_535).astype(np.uint16)
    return _oriented(header, shown, 65_535), 65_535, record


def _windowed(
    units: NDArray[np.float64], centre: float, width: float, function: str
) -> NDArray[np.float64]:
    """Share of white by the formulas of DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (units - centre) / width, -700.0, 700.0)))
    if function == "LINEAR_EXACT":
        return (units - centre) / width + 0.5
    if function == "LINEAR" and width > 1.0:
        return (units - (centre - 0.5)) / (width - 1.0) + 0.5
    return (units > centre - 0.5).astype(np.float64)


def _oriented(header: Dataset, levels: Levels, white: int) -> Levels:
    # In MONOCHROME1 the lowest value is white.
    return white - levels if header.PhotometricInterpretation == "MONOCHROME1" else levels


def _first(value: Any) -> float:
    return float(value[0] if hasattr(value, "__len__") else value)
