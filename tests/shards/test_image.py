"""A source image as it is stored: one decode for all, near to the full decode, damage named."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.image import ImageOptions, StoredImage, store
from cxr_engine.shards.plane import ImageLimits

LANCZOS = Image.Resampling.LANCZOS


def picture(seed: int, height: int = 40, width: int = 48) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode(pixels: NDArray[np.uint8] | NDArray[np.uint16], kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def pixels_of(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def stored(data: bytes, **options: object) -> StoredImage:
    return store(data, "x.png", ImageOptions(**{"size": 32, **options}))


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return 10 * np.log10(255**2 / np.square(one.astype(float) - other).mean())


def test_renditions_are_the_same_picture_in_small() -> None:
    data = encode(picture(0), "PNG")
    for fit in ("squash", "pad", "crop"):
        image = stored(data, renditions=(20, 16), encoding="png8", fit=fit)
        large = Image.fromarray(pixels_of(image.data))
        for side, small in zip((20, 16), image.renditions, strict=True):
            np.testing.assert_array_equal(
                pixels_of(small), np.asarray(large.resize((side, side), LANCZOS))
            )


def test_renditions_do_not_change_the_picture() -> None:
    data = encode(picture(1), "PNG")
    assert stored(data).data == stored(data, renditions=(16,)).data


@pytest.mark.parametrize("sides", [(32,), (64,), (4,), (16, 16)])
def test_renditions_are_smaller_and_each_named_once(sides: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="sizes"):
        ImageOptions(size=32, renditions=sides)


def test_a_wrong_window_is_known_before_any_image_is_read() -> None:
    with pytest.raises(UsageError, match="window"):
        ImageOptions(window="auto")


def test_a_jpeg_that_is_as_asked_is_kept_and_others_are_not() -> None:
    square = picture(2, 32, 32)
    kept = encode(square, "JPEG", quality=60)
    assert stored(kept).data == kept
    assert stored(kept, keep_original=False).data != kept
    for other in (
        encode(picture(2, 32, 33), "JPEG", quality=60),
        encode(square, "JPEG", quality=60, progressive=True),
        encode(np.stack([square] * 3, axis=2), "JPEG", quality=60),
    ):
        assert stored(other).data != other
    assert stored(kept, window="percentile:5-95").data != kept
    assert pixels_of(stored(kept, encoding="png8").data).shape == (32, 32)


def test_a_turned_jpeg_is_not_kept() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(np.rot90(picture(3, 32, 32)), "JPEG", quality=90, exif=exif)
    assert psnr(pixels_of(stored(data).data), picture(3, 32, 32)) > 30


def test_twelve_bits_in_a_sixteen_bit_png_do_not_come_out_black() -> None:
    data = encode(picture(4).astype(np.uint16) * 16, "PNG")
    black = stored(data)
    assert pixels_of(black.data).max() < 20
    assert black.warning is not None
    for window, record in (
        ("bits", "bits:12"),
        ("percentile:0.5-99.5", "percentile:0.5-99.5 ["),
    ):
        image = stored(data, window=window)
        assert image.window.startswith(record)
        assert image.warning is None
        assert (image.bits, pixels_of(image.data).max() > 230) == (16, True)


def test_sixteen_bit_png_members_keep_the_values() -> None:
    values = picture(5, 32, 32).astype(np.uint16) * 16
    image = stored(encode(values, "PNG"), window="bits", encoding="png16")
    np.testing.assert_array_equal(np.rint(pixels_of(image.data) * (4095 / 65_535)), values)


def test_facts_speak_of_the_source() -> None:
    image = stored(encode(picture(6, 90, 160), "JPEG"))
    assert (image.source_height, image.source_width, image.height, image.width) == (90, 160, 32, 32)
    assert (image.bits, image.window, image.warning) == (8, "full", None)


def test_equal_pixels_have_one_plane_hash_in_any_format() -> None:
    pixels = picture(7)
    images = [stored(encode(pixels, kind)) for kind in ("PNG", "BMP", "TIFF")]
    assert len({image.source_xxh3 for image in images}) == 3
    assert len({image.plane_xxh3 for image in images}) == 1
    assert stored(encode(pixels[:, :-1].copy(), "PNG")).plane_xxh3 != images[0].plane_xxh3
    large = [encode(picture(8, 90, 160), "JPEG", quality=q) for q in (95, 95, 60)]
    hashes = [stored(data).plane_xxh3 for data in large]
    assert hashes[0] == hashes[1] != hashes[2]


def test_difference_hash_survives_scaling_and_compression_and_tells_pictures_apart() -> None:
    hashes = []
    for seed in range(20):
        first = stored(encode(picture(seed, 300, 320), "PNG")).dhash
        smaller = Image.fromarray(picture(seed, 300, 320)).resize((150, 160), LANCZOS)
        again = stored(encode(np.asarray(smaller), "JPEG", quality=70)).dhash
        assert (first ^ again).bit_count() <= 4
        assert 0 <= first < 2**64
        hashes.append(first)
    distances = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > 4


def test_difference_hash_is_that_of_the_definition() -> None:
    pixels = picture(9, 80, 90)
    cells = pixels.reshape(8, 10, 9, 10).mean(axis=(1, 3))
    bits = (np.diff(cells, axis=1) > 0).ravel()
    expected = int("".join("01"[bit] for bit in bits.astype(int)), 2)
    assert (stored(encode(pixels, "PNG")).dhash ^ expected).bit_count() <= 2  # cells that tie


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(3050, 2500, 576), (2048, 2048, 576), (1153, 1155, 576), (1303, 1201, 576), (2401, 2403, 288)],
)
def test_scaled_decoding_is_40_db_from_the_full_decode_on_real_x_rays(
    real_data: Path, height: int, width: int, size: int
) -> None:
    sources = sorted((real_data / "cxr-dev" / "images" / "nih").iterdir())[:2]
    for number, source in enumerate(sources):
        enlarged = Image.open(source).convert("RGB").convert("L").resize((width, height), LANCZOS)
        noise = np.random.default_rng(number).normal(0.0, 3.0, (height, width))
        noisy = (np.asarray(enlarged) + noise).clip(0, 255).astype(np.uint8)
        data = encode(noisy, "JPEG", quality=90)
        full = Image.open(io.BytesIO(data)).resize((size, size), LANCZOS)
        ours = pixels_of(stored(data, size=size, encoding="png8").data)
        assert psnr(ours, np.asarray(full)) > 46  # 40 dB is what was asked for


def test_a_thousand_mutated_images_give_pixels_or_a_named_error() -> None:
    rng = random.Random(1)
    gray = picture(10)
    good = [encode(gray, kind) for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "JPEG2000")]
    good += [encode(gray.astype(np.uint16) * 16, "PNG"), encode(picture(10, 90, 99), "JPEG")]
    good += [encode(picture(11, 32, 32), "JPEG")]
    options = ImageOptions(
        size=32, renditions=(16,), window="percentile:1-99", limits=ImageLimits(max_pixels=20_000)
    )
    refused = 0
    for number in range(1000):
        data = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(rng.choice((64, len(data))))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        try:
            image = store(bytes(data), f"{number}.png", options)
        except DataError as error:
            assert error.where == f"{number}.png"  # noqa: PT017  # pixels are as good an end
            refused += 1
        else:
            assert pixels_of(image.data).shape == (32, 32)
    assert refused > 300
