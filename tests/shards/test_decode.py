"""Any picture becomes one upright gray plane, or is refused by name."""

from __future__ import annotations

import io
import random
import resource
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxr_engine.shards.decode import read_plane
from cxr_engine.shards.errors import DataError
from cxr_engine.shards.plane import ImageLimits

LIMITS = ImageLimits()


@pytest.fixture
def gray() -> NDArray[np.uint8]:
    ramp = np.add.outer(np.arange(0, 120, 3), np.arange(0, 100, 2))  # (40, 50), steep and smooth
    return ramp.astype(np.uint8)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def decode(data: bytes) -> NDArray[np.uint8]:
    return read_plane(data, "x.jpg", LIMITS).values


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM", "GIF"])
def test_lossless_gray_is_exact_whatever_the_name_says(gray: NDArray[np.uint8], kind: str) -> None:
    np.testing.assert_array_equal(decode(encode(Image.fromarray(gray), kind)), gray)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_gray_in_other_modes_is_exact(gray: NDArray[np.uint8], mode: str) -> None:
    data = encode(Image.fromarray(gray).convert(mode), "PNG")
    np.testing.assert_array_equal(decode(data), gray)


def test_alpha_and_palette_transparency_are_dropped(gray: NDArray[np.uint8]) -> None:
    image = Image.fromarray(gray)
    see_through = image.copy()
    see_through.putalpha(Image.new("L", image.size, 7))
    np.testing.assert_array_equal(decode(encode(see_through, "PNG")), gray)
    data = encode(image.convert("P"), "PNG", transparency=bytes([0, 128] * 100))
    np.testing.assert_array_equal(decode(data), gray)


def test_one_bit_becomes_black_and_white(gray: NDArray[np.uint8]) -> None:
    image = read_plane(encode(Image.fromarray(gray > 90), "PNG"), "x.png", LIMITS)
    np.testing.assert_array_equal(image.values, np.where(gray > 90, 255, 0))
    assert image.bits == 1


def test_sixteen_bits_are_kept() -> None:
    values = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    plane = read_plane(encode(Image.fromarray(values), "PNG"), "x.png", LIMITS)
    np.testing.assert_array_equal(plane.values, values)
    assert (plane.bits, plane.white, plane.values.dtype) == (16, 65_535, np.uint16)


def test_colour_becomes_luma(gray: NDArray[np.uint8]) -> None:
    rgb = np.stack([gray, gray[::-1], gray[:, ::-1]], axis=2)
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode(encode(Image.fromarray(rgb), "PNG")) - luma).max() <= 0.51


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs_of_every_kind_are_near(
    gray: NDArray[np.uint8], mode: str, options: dict[str, bool]
) -> None:
    data = encode(Image.fromarray(gray).convert(mode), "JPEG", quality=98, **options)
    assert np.abs(decode(data).astype(int) - gray).max() <= 6


def test_exif_orientation_turns_the_picture_upright(gray: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees
    data = encode(Image.fromarray(np.rot90(gray)), "TIFF", exif=exif)
    image = read_plane(data, "x.tif", LIMITS)
    np.testing.assert_array_equal(image.values, gray)
    assert (image.source_height, image.source_width) == gray.shape


def png_claiming(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    data = struct.pack(">I", 9) + b"IDAT" + zlib.compress(b"\0")
    return head + struct.pack(">I", zlib.crc32(chunk)) + data + b"\0\0\0\0\0\0\0\0IEND\xaeB`\x82"


def jpeg_claiming(width: int, height: int) -> bytes:
    data = encode(Image.new("L", (16, 16)), "JPEG")
    frame = data.index(b"\xff\xc0") + 5
    return data[:frame] + struct.pack(">HH", height, width) + data[frame + 4 :]


@pytest.mark.parametrize(
    "bomb",
    [png_claiming(30_000, 30_000), jpeg_claiming(65_000, 65_000)],
    ids=["png", "jpeg"],
)
def test_bombs_are_refused_by_their_header_without_memory(bomb: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(DataError, match="too large"):
        read_plane(bomb, "bomb", LIMITS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
    # Pillow's own buffers are not traced; the process would have grown by 0.9 GB or more.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):
        with pytest.raises(DataError, match="too large"):
            read_plane(bomb, "bomb", LIMITS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB


def test_limits_hold_at_their_edge() -> None:
    small = encode(Image.new("L", (50, 40)), "PNG")
    for limits in (
        ImageLimits(max_side=49),
        ImageLimits(max_pixels=1999),
        ImageLimits(max_bytes=len(small) - 1),
    ):
        with pytest.raises(DataError, match="too large"):
            read_plane(small, "x.png", limits)
    assert read_plane(small, "x.png", ImageLimits(max_side=50, max_pixels=2000)).source_width == 50


@pytest.mark.parametrize(
    "data",
    [b"", b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\xff\xd8\xff"],
)
def test_what_is_no_picture_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(DataError) as caught:
        read_plane(data, "folder/x.png", LIMITS)
    assert caught.value.where == "folder/x.png"


def test_several_pictures_in_a_file_and_floats_are_refused(gray: NDArray[np.uint8]) -> None:
    first, second = Image.fromarray(gray), Image.fromarray(gray.T.copy().T[::-1])
    frames = encode(first, "TIFF", save_all=True, append_images=[second])
    with pytest.raises(DataError, match="2 pictures"):
        decode(frames)
    with pytest.raises(DataError, match="floating-point"):
        decode(encode(first.convert("F"), "TIFF"))


def test_damaged_pictures_give_pixels_or_a_named_error(gray: NDArray[np.uint8]) -> None:
    rng = random.Random(0)
    image = Image.fromarray(gray)
    good = [encode(image, kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "JPEG2000")]
    good += [encode(image.convert("P"), "PNG"), encode(image.convert("CMYK"), "JPEG")]
    for _ in range(1500):
        data = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(rng.choice((48, len(data))))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        try:
            values = read_plane(bytes(data), "x.png", ImageLimits(max_pixels=10_000)).values
        except DataError as error:
            assert error.where == "x.png"  # noqa: PT017  # pixels are as good an end
        else:
            assert values.dtype in (np.uint8, np.uint16)
            assert values.ndim == 2


def test_a_truncated_jpeg_is_refused(gray: NDArray[np.uint8]) -> None:
    data = encode(Image.fromarray(gray), "JPEG")
    for end in (len(data) // 2, len(data) - 30):
        with pytest.raises(DataError, match="x\\.jpg"):
            decode(data[:end])
