"""Pixels of DICOM files: more is brighter, windows as the standard says, the odd ones refused."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxr_engine.shards.decode import read_plane
from cxr_engine.shards.errors import DataError, ResourceError
from cxr_engine.shards.image import ImageOptions, store
from cxr_engine.shards.plane import ImageLimits, Plane

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")

LIMITS = ImageLimits()
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


def make_dicom(
    pixels: NDArray[Any] | bytes,
    syntax: str = EXPLICIT,
    shape: tuple[int, int] = (4, 6),
    **tags: Any,
) -> bytes:
    """A file of 12 bits in 16 unless tags say otherwise; bytes are a compressed picture."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    dataset.Rows, dataset.Columns = shape if isinstance(pixels, bytes) else pixels.shape[:2]
    facts = {
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16,
        "BitsStored": 12, "PixelRepresentation": 0,
    } | tags  # fmt: skip
    for name, value in facts.items():
        setattr(dataset, name, value)
    dataset.HighBit = dataset.BitsStored - 1
    if isinstance(pixels, bytes):
        dataset.PixelData = pydicom.encaps.encapsulate([pixels])
        dataset["PixelData"].VR = "OB"
    else:
        data = pixels.tobytes()
        dataset.PixelData = data + b"\0" * (len(data) % 2)
        dataset["PixelData"].VR = "OW" if dataset.BitsAllocated == 16 else "OB"
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def read(data: bytes, *, voi: bool = False) -> Plane:
    return read_plane(data, "x.dcm", LIMITS, voi=voi)


@pytest.fixture
def ramp() -> NDArray[np.uint16]:
    return (np.arange(24, dtype=np.uint16) * 178).reshape(4, 6)  # 0 … 4094


def test_stored_values_are_the_plane(ramp: NDArray[np.uint16]) -> None:
    plane = read(make_dicom(ramp))
    np.testing.assert_array_equal(plane.values, ramp)
    assert (plane.bits, plane.white, plane.voi) == (12, 4095, None)


def test_monochrome1_is_inverted_within_its_bits(ramp: NDArray[np.uint16]) -> None:
    plane = read(make_dicom(ramp, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(plane.values, 4095 - ramp)


def test_signed_values_are_shifted(ramp: NDArray[np.uint16]) -> None:
    plane = read(make_dicom(ramp.astype(np.int16) - 2048, PixelRepresentation=1))
    np.testing.assert_array_equal(plane.values, ramp)


def test_a_falling_modality_line_turns_black_and_white(ramp: NDArray[np.uint16]) -> None:
    plane = read(make_dicom(ramp, RescaleSlope="-2", RescaleIntercept="100"))
    np.testing.assert_array_equal(plane.values, 4095 - ramp)


def test_a_modality_table_is_applied(ramp: NDArray[np.uint16]) -> None:
    item = pydicom.Dataset()
    item.LUTDescriptor = [4096, 0, 16]
    item.LUTData = [65_535 - 16 * n for n in range(4096)]
    item["LUTData"].VR = item["LUTDescriptor"].VR = "US"
    item.ModalityLUTType = "US"
    plane = read(make_dicom(ramp, ModalityLUTSequence=pydicom.Sequence([item])))
    np.testing.assert_array_equal(plane.values, 65_535 - 16 * ramp.astype(int))
    assert (plane.bits, plane.white) == (12, 65_535)


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_windows_equal_pydicoms(ramp: NDArray[np.uint16], function: str | None, kind: str) -> None:
    tags: dict[str, Any] = {"WindowCenter": ["2000", "1"], "WindowWidth": ["1500", "1"]}
    tags |= {"RescaleSlope": "1", "RescaleIntercept": "-100", "PhotometricInterpretation": kind}
    if function:
        tags["VOILUTFunction"] = function
    data = make_dicom(ramp, **tags)
    dataset = pydicom.dcmread(io.BytesIO(data))
    units = pydicom.pixels.apply_modality_lut(ramp, dataset)
    # pydicom spreads the window over the range of the rescaled values.
    expected = (pydicom.pixels.apply_windowing(units, dataset) + 100) / 4095
    plane = read(data, voi=True)
    share = plane.values / 65_535
    np.testing.assert_allclose(
        1 - share if kind == "MONOCHROME1" else share, expected, rtol=0, atol=1e-5
    )
    assert plane.voi == f"{(function or 'LINEAR').lower()} 2000/1500"
    assert plane.bits == 12


def test_a_voi_table_goes_before_a_window(ramp: NDArray[np.uint16]) -> None:
    item = pydicom.Dataset()
    item.LUTDescriptor = [4096, 0, 10]
    item.LUTData = [n // 4 for n in range(4096)]
    item["LUTData"].VR = item["LUTDescriptor"].VR = "US"
    sequence = pydicom.Sequence([item])
    data = make_dicom(ramp, VOILUTSequence=sequence, WindowCenter="7", WindowWidth="9")
    plane = read(data, voi=True)
    np.testing.assert_allclose(plane.values / 65_535, (ramp // 4) / 1023, atol=1e-5)
    assert plane.voi == "LUT of 10 bits"


def test_the_window_is_recorded_and_full_where_there_is_none(ramp: NDArray[np.uint16]) -> None:
    options = ImageOptions(size=16, window="dicom")
    data = make_dicom(ramp, WindowCenter="2000", WindowWidth="1500")
    assert store(data, "x", options).window == "dicom linear 2000/1500"
    image = store(make_dicom(ramp), "x", options)
    assert (image.window, image.bits, image.source_height, image.source_width) == ("full", 12, 4, 6)


def test_twelve_bits_use_all_of_eight_by_full_range(ramp: NDArray[np.uint16]) -> None:
    data = store(make_dicom(ramp), "x", ImageOptions(size=16, encoding="png8")).data
    assert np.asarray(Image.open(io.BytesIO(data))).max() > 250


def test_colour_becomes_luma() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    plane = read(make_dicom(rgb, BitsAllocated=8, BitsStored=8, **tags))
    assert np.abs(plane.values - rgb @ np.array([0.299, 0.587, 0.114])).max() <= 0.51


def jpeg_2000(pixels: NDArray[np.uint16]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG2000", no_jp2=True)
    return buffer.getvalue()


def test_jpeg_2000_is_decoded() -> None:
    values = np.random.default_rng(0).integers(0, 65_536, (40, 50), np.uint16)
    data = make_dicom(jpeg_2000(values), JPEG_2000, (40, 50), BitsStored=16)
    np.testing.assert_array_equal(read(data).values, values)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"NumberOfFrames": "2"}, "2 frames"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"BitsStored": 17}, "17 bits stored in 16"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "32 bits"),
        ({"Rows": 30_000}, "too large"),
    ],
)
def test_what_is_no_single_gray_picture_is_refused_by_name(
    ramp: NDArray[np.uint16], tags: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(make_dicom(ramp, **tags))
    assert caught.value.where == "x.dcm"


def test_a_compressed_picture_larger_than_the_header_says_is_refused() -> None:
    code = bytearray(jpeg_2000(np.zeros((40, 50), np.uint16)))
    at = code.index(b"\xff\x51") + 6
    code[at : at + 8] = struct.pack(">II", 60_000, 60_000)
    with pytest.raises(DataError, match="claims 60000 rows and 60000 columns"):
        read(make_dicom(bytes(code), JPEG_2000, (40, 50), BitsStored=16))
    buffer = io.BytesIO()
    Image.new("L", (16, 16)).save(buffer, "JPEG")
    tags = {"BitsAllocated": 8, "BitsStored": 8}
    assert read(make_dicom(buffer.getvalue(), JPEG_BASELINE, (16, 16), **tags)).bits == 8
    with pytest.raises(DataError, match="claims 16 rows"):
        read(make_dicom(buffer.getvalue(), JPEG_BASELINE, (40, 50), **tags))


def test_deflated_files_are_refused_before_they_grow() -> None:
    data = make_dicom(np.zeros((2000, 2000), np.uint16), "1.2.840.10008.1.2.1.99")
    assert len(data) < 20_000
    with pytest.raises(DataError, match="deflated"):
        read(data)


def test_a_file_without_a_picture_is_refused(ramp: NDArray[np.uint16]) -> None:
    dataset = pydicom.dcmread(io.BytesIO(make_dicom(ramp)))
    del dataset.PixelData
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(DataError, match="without a picture"):
        read(buffer.getvalue())


def test_without_pydicom_the_error_says_what_to_install(
    ramp: NDArray[np.uint16], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dicom(ramp)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(ResourceError, match=r"cxr-engine\[dicom\]"):
        read(data)


def test_damaged_files_give_pixels_or_a_named_error(ramp: NDArray[np.uint16]) -> None:
    rng = random.Random(0)
    good = [
        make_dicom(ramp, WindowCenter="2000", WindowWidth="1500"),
        make_dicom(ramp, PhotometricInterpretation="MONOCHROME1", RescaleSlope="2"),
        make_dicom(jpeg_2000(ramp), JPEG_2000, ramp.shape, BitsStored=16),
    ]
    for _ in range(400):
        data = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(132, len(data))] = rng.randrange(256)
        if rng.random() < 0.2:
            del data[rng.randrange(132, len(data)) :]
        try:
            plane = read_plane(bytes(data), "x.dcm", ImageLimits(max_pixels=10_000), voi=True)
        except DataError as error:
            assert error.where == "x.dcm"  # noqa: PT017  # pixels are as good an end
        else:
            assert plane.values.ndim == 2


def test_real_files_come_out_as_x_rays_with_bright_bones_on_dark_air(real_data: Path) -> None:
    """Looked at by eye; here: lungs are darker than the mediastinum, air beside the neck darkest."""
    for name, shape, bits in (
        ("RG1_J2KI.dcm", (1955, 1841), 15),
        ("1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm", (1024, 1024), 8),
    ):
        path = real_data / "dicom" / name
        for window in ("full", "bits", "dicom", "percentile:0.5-99.5"):
            options = ImageOptions(size=128, window=window, encoding="png8")
            image = store(path.read_bytes(), name, options)
            assert (image.source_height, image.source_width, image.bits) == (*shape, bits)
            assert image.warning is None
            pixels = np.asarray(Image.open(io.BytesIO(image.data))).astype(int)
            middle = pixels[50:80, 58:66].mean()
            lungs = np.concatenate([pixels[40:60, 28:40], pixels[40:60, 88:100]]).mean()
            assert middle - lungs > 30
