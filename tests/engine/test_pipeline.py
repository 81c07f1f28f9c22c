"""The DALI graph against OpenCV and NumPy, and the GPU's graph on CPU operators."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cxr_engine.engine import Augment
from cxr_engine.engine.augment import Parameters, draw, sample_seeds
from cxr_engine.engine.pipeline import DecodePipeline, Feed

SIZE = 96
N = 24
MEAN, STD = (0.45,), (0.25,)
BORDERS = {
    "reflect_101": "BORDER_REFLECT_101",
    "constant": "BORDER_CONSTANT",
    "replicate": "BORDER_REPLICATE",
}


def pictures() -> list[np.ndarray]:
    """Encoded gray JPEGs of different shapes, smooth with some noise."""
    rng = np.random.default_rng(0)
    encoded = []
    for i in range(N):
        height, width = 120 + 3 * i, 150 - 2 * i
        y, x = np.mgrid[:height, :width]
        plane = (
            120 + 70 * np.sin(x / (9 + i)) + 50 * np.cos(y / 13) + rng.normal(0, 4, (height, width))
        )
        buffer = io.BytesIO()
        Image.fromarray(plane.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=95)
        encoded.append(np.frombuffer(buffer.getvalue(), np.uint8))
    return encoded


def run_once(
    encoded: list[np.ndarray], parameters: Parameters, device: str = "cpu", **options: Any
) -> torch.Tensor:
    feeds: list[Feed | None] = [(encoded, parameters, SIZE), None]
    settings = {"border": "reflect_101", "mean": MEAN, "std": STD, "dtype": "float32"} | options
    pipeline = DecodePipeline(
        lambda: feeds.pop(0) if feeds else None,
        torch.device(device, 0) if device == "cuda" else torch.device(device),
        max_batch_size=N,
        threads=2,
        **settings,
    )
    images = pipeline.run()
    assert images is not None
    assert pipeline.run() is None
    return images


def parameters_for(encoded: list[np.ndarray], augment: Augment) -> Parameters:
    planes = np.array([Image.open(io.BytesIO(e.tobytes())).size[::-1] for e in encoded])
    seeds = sample_seeds(
        1, 0, [str(i) for i in range(len(encoded))], np.zeros(len(encoded), np.int64)
    )
    return draw(augment, seeds, planes, SIZE)


def reference(encoded: list[np.ndarray], p: Parameters, border: str) -> np.ndarray:
    """Decode, crop, cv2.warpAffine, holes, normalise: (N, SIZE, SIZE) float64."""
    cv2 = pytest.importorskip("cv2")
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    out = []
    for i, data in enumerate(encoded):
        plane = np.asarray(Image.open(io.BytesIO(data.tobytes())))
        (y, x), (height, width) = p.start[i], p.shape[i]
        crop = np.ascontiguousarray(plane[y : y + height, x : x + width])
        centred = (np.linalg.inv(half) @ p.matrix[i].astype(np.float64) @ half)[:2]
        warped = cv2.warpAffine(
            crop,
            centred,
            (SIZE, SIZE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=getattr(cv2, BORDERS[border]),
        )
        for (hole_y, hole_x), (h, w) in zip(
            p.anchor[i].reshape(-1, 2), p.hole[i].reshape(-1, 2), strict=True
        ):
            warped[int(hole_y) : int(hole_y + h), int(hole_x) : int(hole_x + w)] = 0
        out.append((warped / 255.0 - MEAN[0]) / STD[0])
    return np.stack(out)


@pytest.mark.parametrize("border", list(BORDERS))
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_graph_equals_opencv(border: str, device: str, cuda_or_skip: Any) -> None:
    cuda_or_skip(device)
    encoded = pictures()
    augment = Augment(
        crop_scale=(0.4, 1.0),
        affine_p=0.8,
        rotate=25,
        hflip_p=0.5,
        vflip_p=0.5,
        holes_p=0.5,
        border=border,
    )
    p = parameters_for(encoded, augment)
    got = run_once(encoded, p, device, border=border)[:, 0].cpu().numpy()
    levels = np.abs(got - reference(encoded, p, border)) * STD[0] * 255
    if device == "cpu":
        # Both round bilinear weights to 1/32 pixel; a matrix in float32 instead of float64 moves a few
        # of them to the neighbouring 32nd.
        assert (levels > 0.51).mean() < 2e-3
        assert np.median(levels) < 1e-3
    else:
        assert levels.mean() < 1.0
        assert np.quantile(levels, 0.99) < 8


def test_three_channels_are_the_plane_normalised_three_ways() -> None:
    encoded = pictures()
    p = parameters_for(encoded, Augment(affine_p=1.0))
    one = run_once(encoded, p, mean=(0.485,), std=(0.229,))
    three = run_once(encoded, p, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert three.shape == (N, 3, SIZE, SIZE)
    assert three.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(three[:, :1], one)
    again = (three[:, 2] * 0.225 + 0.406 - 0.485) / 0.229
    torch.testing.assert_close(again, one[:, 0], atol=1e-5, rtol=1e-5)


def test_float16_is_float32_rounded() -> None:
    encoded = pictures()
    p = parameters_for(encoded, Augment())
    full, half = run_once(encoded, p), run_once(encoded, p, dtype="float16")
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), full, atol=2e-3, rtol=1e-3)


def test_batches_own_their_memory_and_may_differ_in_size() -> None:
    encoded = pictures()
    parameters = parameters_for(encoded, Augment())
    few = parameters_for(encoded[:5], Augment())
    feeds: list[Feed | None] = [(encoded, parameters, SIZE), (encoded[:5], few, SIZE // 2)] * 4
    pipeline = DecodePipeline(
        lambda: feeds.pop(0) if feeds else None,
        torch.device("cpu"),
        max_batch_size=N,
        threads=2,
        border="reflect_101",
        mean=MEAN,
        std=STD,
        dtype="float32",
    )
    first = pipeline.run()
    assert first is not None
    copy = first.clone()
    shapes = []
    while (images := pipeline.run()) is not None:
        shapes.append(tuple(images.shape))
    assert torch.equal(first, copy)
    assert shapes[:2] == [(5, 1, SIZE // 2, SIZE // 2), (N, 1, SIZE, SIZE)]
    assert len(shapes) == 7
