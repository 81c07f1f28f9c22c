"""CuPy against Numba on a device: same bits, same library, no wait but for the result."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cxr_engine.kernels import aggregate_views, average_precision, mean_ap, roc_auc


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Where torch tensors go; skips without a CUDA device."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return request.param


def to(device, *arrays):
    return [None if array is None else torch.from_numpy(array).to(device) for array in arrays]


def test_ranking_of_tensors_equals_that_of_arrays_to_the_last_bit(draw, kind, device):
    for seed in range(10):
        case = draw(kind, seed)
        for metric in (average_precision, roc_auc):
            result = metric(*to(device, *case))
            assert result.device.type == device
            np.testing.assert_array_equal(result.cpu().numpy(), metric(*case))


def test_a_large_matrix_gives_the_same_bits_every_time(draw, device):
    case = draw("weights and unknown labels", 0, 100_000, 20)
    expected = average_precision(*case)
    for _ in range(3):
        result = average_precision(*to(device, *case), empty="zero")
        np.testing.assert_array_equal(result.cpu().numpy(), expected)
    assert mean_ap(result) == mean_ap(expected)


@pytest.mark.parametrize("by", ["view", "image"])
@pytest.mark.parametrize("unknown", ["neutral", "frontal", "lateral"])
def test_aggregation_of_tensors_equals_that_of_arrays(device, by, unknown):
    rng = np.random.default_rng(0)
    arrays = (
        rng.random((20_000, 40), np.float32),
        rng.integers(0, 9_000, 20_000),
        rng.integers(0, 3, 20_000).astype(np.uint8),
    )
    results = aggregate_views(*to(device, *arrays), by=by, unknown=unknown)
    for result, expected in zip(
        results, aggregate_views(*arrays, by=by, unknown=unknown), strict=True
    ):
        assert result.device.type == device
        np.testing.assert_array_equal(result.cpu().numpy(), expected)


def test_a_refusal_names_row_and_class(draw, device):
    case = draw("continuous", 0, 50, 3)
    case.scores[7, 2] = np.nan
    with pytest.raises(ValueError, match=r"row 7, class 2\) is nan"):
        average_precision(*to(device, *case))


@pytest.mark.gpu
def test_cupy_arrays_give_cupy_arrays(draw):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    cupy = pytest.importorskip("cupy")
    case = draw("ties", 0, 500, 4)
    result = roc_auc(cupy.asarray(case.targets), cupy.asarray(case.scores))
    assert isinstance(result, cupy.ndarray)
    np.testing.assert_array_equal(result.get(), roc_auc(*case))


@pytest.mark.gpu
def test_kernels_follow_the_current_stream_and_torch_sees_no_wait(draw):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    case = draw("continuous", 0, 50_000, 20)
    targets, scores = to("cuda", case.targets, case.scores)
    average_precision(targets, scores)  # compiles
    late = torch.zeros_like(scores)
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.cuda.stream(stream):
            torch.cuda._sleep(200_000_000)  # scores arrive long after the kernels are queued
            late.copy_(scores)
            result = average_precision(targets, late)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    stream.synchronize()
    np.testing.assert_array_equal(result.cpu().numpy(), average_precision(*case))
