"""The stored square: its geometry, its bytes, and JPEGs that are kept."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxr_engine.shards.encode import encode, metadata_free_jpeg
from cxr_engine.shards.fit import Fit, resize


@pytest.fixture
def gray() -> NDArray[np.uint8]:
    ramp = np.add.outer(np.arange(0, 120, 3), np.arange(0, 100, 2))  # (40, 50), steep and smooth
    return ramp.astype(np.uint8)


def test_squash_is_lanczos_to_a_square(gray: NDArray[np.uint8]) -> None:
    expected = Image.fromarray(gray).resize((32, 32), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(resize(gray, 32), np.asarray(expected))


def test_pad_keeps_the_aspect_and_centres() -> None:
    wide = np.full((30, 60), 200, np.uint8)
    padded = resize(wide, 40, "pad")
    assert padded.shape == (40, 40)
    np.testing.assert_array_equal(padded[10:30], 200)
    assert not padded[:10].any()
    assert not padded[30:].any()
    np.testing.assert_array_equal(resize(wide.T.copy(), 40, "pad"), padded.T)


def test_stored_jpegs_are_gray_baseline_and_repeatable(gray: NDArray[np.uint8]) -> None:
    data = encode(gray, "jpeg", 95)
    assert data == encode(gray.copy(), "jpeg", 95)
    assert data.startswith(b"\xff\xd8")
    assert data.endswith(b"\xff\xd9")
    frame = data.index(b"\xff\xc0")  # SOF0: baseline
    assert data[frame + 9] == 1  # one component
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "L"
        assert not {"progressive", "exif", "comment"} & image.info.keys()
        assert np.abs(np.asarray(image).astype(int) - gray).max() <= 6


def test_crop_is_the_middle_square(gray: NDArray[np.uint8]) -> None:
    middle = gray[:, 5:45]
    np.testing.assert_array_equal(resize(gray, 20, "crop"), resize(middle.copy(), 20))
    np.testing.assert_array_equal(resize(gray.T.copy(), 20, "crop"), resize(gray, 20, "crop").T)


@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
def test_sixteen_bits_are_resized_as_eight_are(gray: NDArray[np.uint8], fit: Fit) -> None:
    wide = resize(gray.astype(np.uint16) * 257, 24, fit)
    assert wide.dtype == np.uint16
    assert np.abs(wide / 257 - resize(gray, 24, fit)).max() <= 1.01


def test_a_partly_covered_edge_does_not_stretch_the_picture() -> None:
    # 41 rows that stand for 40.5: the ramp must end where it would have ended.
    ramp = np.repeat(np.arange(0, 205, 5, dtype=np.uint8)[:, None], 41, axis=1)
    exact = resize(ramp, 20, "squash", (40.5, 41.0)).astype(int)
    middles = (np.arange(20) + 0.5) * 40.5 / 20 - 0.5
    assert np.abs(exact[2:-2, 10] - 5 * middles[2:-2]).max() <= 1.0


@pytest.mark.parametrize(("encoding", "kind"), [("png8", np.uint8), ("png16", np.uint16)])
def test_png_is_lossless_gray_and_repeatable(encoding: str, kind: type) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (30, 30), kind, endpoint=True)
    data = encode(pixels, encoding, 95)
    assert data == encode(pixels.copy(), encoding, 50)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode) == ("PNG", "L" if kind is np.uint8 else "I;16")
        np.testing.assert_array_equal(np.asarray(image), pixels)


def jpeg(gray: NDArray[np.uint8], mode: str = "L", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(gray).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def test_a_gray_jpeg_keeps_its_pixels_and_loses_its_metadata(gray: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif[0x010E] = "DOE^JANE"
    data = jpeg(gray, exif=exif, comment=b"born 1950", restart_marker_rows=1) + b"after the end"
    clean = metadata_free_jpeg(data)
    assert clean is not None
    assert not {b"DOE^JANE", b"born 1950", b"after"} & {
        word for word in (b"DOE^JANE", b"born 1950", b"after") if word in clean
    }
    assert clean.endswith(b"\xff\xd9")
    assert metadata_free_jpeg(clean) == clean
    with Image.open(io.BytesIO(clean)) as image, Image.open(io.BytesIO(data)) as original:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(original))


def test_our_own_jpeg_is_kept_byte_for_byte(gray: NDArray[np.uint8]) -> None:
    data = encode(gray, "jpeg", 90)
    assert metadata_free_jpeg(data) == data


def test_other_jpegs_are_not_kept(gray: NDArray[np.uint8]) -> None:
    assert metadata_free_jpeg(jpeg(gray, progressive=True)) is None
    assert metadata_free_jpeg(jpeg(gray, "RGB")) is None
    assert metadata_free_jpeg(b"\x89PNG") is None
    good = jpeg(gray)
    assert all(metadata_free_jpeg(good[:end]) is None for end in range(len(good) - 1))
