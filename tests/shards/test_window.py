"""Source values become levels by full range, by depth, by percentile; the record says how."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.plane import Plane
from cxr_engine.shards.window import apply_window, parse_window


def plane(values: NDArray[np.uint8] | NDArray[np.uint16], bits: int | None = None) -> Plane:
    bits = bits or 8 * values.dtype.itemsize
    return Plane(
        values=values,
        source_height=values.shape[0],
        source_width=values.shape[1],
        bits=bits,
        white=(1 << bits) - 1,
    )


@pytest.fixture
def twelve_bits() -> NDArray[np.uint16]:
    return np.arange(4096, dtype=np.uint16).reshape(64, 64)


def test_full_range_divides_by_257_rounded() -> None:
    values = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    levels, record, warning = apply_window(plane(values), parse_window("full"), None, 8)
    np.testing.assert_array_equal(levels, np.rint(values / 257))
    assert (record, warning) == ("full", None)


def test_twelve_bits_in_sixteen_are_nearly_black_by_full_range_and_warned_of(
    twelve_bits: NDArray[np.uint16],
) -> None:
    levels, _, warning = apply_window(plane(twelve_bits), parse_window("full"), None, 8)
    assert levels.max() == 16
    assert warning is not None
    assert "nearly black" in warning


@pytest.mark.parametrize("stated", [12, None])
def test_bits_use_the_whole_of_eight(twelve_bits: NDArray[np.uint16], stated: int | None) -> None:
    levels, record, warning = apply_window(plane(twelve_bits), parse_window("bits"), stated, 8)
    np.testing.assert_array_equal(levels, np.rint(twelve_bits * (255 / 4095)))
    assert (record, warning) == ("bits:12", None)


def test_stated_depth_wins_over_a_smaller_one_found_and_not_over_a_larger(
    twelve_bits: NDArray[np.uint16],
) -> None:
    dark = twelve_bits // 4  # ten bits
    levels, record, _ = apply_window(plane(dark), parse_window("bits"), 12, 8)
    assert (levels.max(), record) == (64, "bits:12")
    levels, record, warning = apply_window(plane(twelve_bits), parse_window("bits"), 10, 8)
    assert (levels.max(), record) == (255, "bits:12")
    assert warning == "values need 12 bits, the table says 10"


def test_percentiles_clip_and_are_recorded(twelve_bits: NDArray[np.uint16]) -> None:
    window = parse_window("percentile:0.5-99.5")
    levels, record, _ = apply_window(plane(twelve_bits), window, None, 8)
    low, high = np.percentile(twelve_bits, [0.5, 99.5], method="inverted_cdf")
    assert record == f"percentile:0.5-99.5 [{low}, {high}]"
    expected = np.rint((twelve_bits.clip(low, high).astype(float) - low) * 255 / (high - low))
    assert np.abs(levels - expected).max() == 0
    assert parse_window("percentile:0-100") is not None
    _, record, _ = apply_window(plane(twelve_bits + 7), parse_window("percentile:0-100"), None, 8)
    assert record == "percentile:0-100 [7, 4102]"


def test_eight_bit_values_without_change_are_not_copied() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for text, record in (("full", "full"), ("bits", "bits:8"), ("dicom", "full")):
        levels, found, warning = apply_window(plane(values), parse_window(text), 12, 8)
        assert levels is values
        assert (found, warning) == (record, None)


def test_sixteen_bit_levels_hold_every_twelve_bit_value(twelve_bits: NDArray[np.uint16]) -> None:
    levels, _, _ = apply_window(plane(twelve_bits), parse_window("bits"), 12, 16)
    assert levels.dtype == np.uint16
    np.testing.assert_array_equal(np.rint(levels * (4095 / 65_535)), twelve_bits)
    small = np.arange(256, dtype=np.uint8).reshape(16, 16)
    levels, _, _ = apply_window(plane(small), parse_window("full"), None, 16)
    np.testing.assert_array_equal(levels, small * np.uint16(257))


@pytest.mark.parametrize("text", ["full", "bits", "percentile:1-99", "dicom"])
def test_a_picture_of_one_value_keeps_it_and_is_warned_of(text: str) -> None:
    flat = np.full((8, 8), 30_000, np.uint16)
    levels, _, warning = apply_window(plane(flat), parse_window(text), None, 8)
    assert levels.min() == levels.max() >= 116
    assert warning == "values from 30000 to 30000 use less than 1 % of 65,535"


@pytest.mark.parametrize(
    "text", ["", "auto", "percentile", "percentile:9-1", "percentile:1-101", "percentile:-1-9"]
)
def test_other_windows_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="window"):
        parse_window(text)
