"""Parameters: keyed by the sample alone, distributed as published, one matrix for all geometry."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_engine.engine import PRESETS, Augment
from cxr_engine.engine.augment import draw, sample_seeds, uniforms

KEYS = [f"key-{i}" for i in range(20_000)]
PLANES = np.full((len(KEYS), 2), 512)


def seeds_of(seed: int = 0, epoch: int = 0, repeat: int = 0) -> np.ndarray:
    return sample_seeds(seed, epoch, KEYS, np.full(len(KEYS), repeat))


def apply(matrix: np.ndarray, x: float, y: float) -> np.ndarray:
    return (matrix @ np.array([x, y, 1.0], np.float32))[:2]


def test_a_sample_gets_the_same_parameters_in_any_batch() -> None:
    augment = PRESETS["cxr-lt-2024"]
    whole = draw(augment, seeds_of(), PLANES, 384)
    some = np.array([17, 3, 999])
    keys = [KEYS[i] for i in some]
    part = draw(augment, sample_seeds(0, 0, keys, np.zeros(3, np.int64)), PLANES[some], 384)
    np.testing.assert_array_equal(part.matrix, whole.matrix[some])
    np.testing.assert_array_equal(part.start, whole.start[some])
    for i, j in enumerate(some):
        np.testing.assert_array_equal(part.anchor[i], whole.anchor[j])


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}, {"repeat": 1}])
def test_seed_epoch_and_repeat_each_change_the_draws(other: dict[str, int]) -> None:
    assert (seeds_of() != seeds_of(**other)).all()


def test_uniforms_are_uniform_and_uncorrelated() -> None:
    u = uniforms(seeds_of(), 16)
    assert u.min() >= 0
    assert u.max() < 1
    np.testing.assert_allclose(u.mean(axis=0), 0.5, atol=0.01)
    np.testing.assert_allclose(u.var(axis=0), 1 / 12, atol=0.003)
    correlation = np.corrcoef(u, rowvar=False) - np.eye(16)
    assert np.abs(correlation).max() < 0.04


def test_turning_one_field_on_does_not_move_the_others_draws() -> None:
    base = Augment(crop_scale=(0.5, 1.0), hflip_p=0.5)
    holes = Augment(crop_scale=(0.5, 1.0), hflip_p=0.5, holes_p=1.0)
    a, b = draw(base, seeds_of(), PLANES, 384), draw(holes, seeds_of(), PLANES, 384)
    np.testing.assert_array_equal(a.matrix, b.matrix)


def test_none_is_a_plain_resize_of_the_whole_plane() -> None:
    parameters = draw(PRESETS["none"], seeds_of(), PLANES, 256)
    assert (parameters.start == 0).all()
    assert (parameters.shape == 512).all()
    expected = np.diag([2.0, 2.0, 1.0]).astype(np.float32)
    np.testing.assert_array_equal(parameters.matrix, np.broadcast_to(expected, (len(KEYS), 3, 3)))
    assert sum(map(len, parameters.anchor)) == 0


def test_the_2024_crop_has_the_published_distribution() -> None:
    """Of 100,000 simulated crops of a square, 3.7 % fell back to the whole image, mean area .904."""
    parameters = draw(PRESETS["cxr-lt-2024"], seeds_of(), PLANES, 384)
    area = parameters.shape.prod(axis=1) / 512**2
    assert area.mean() == pytest.approx(0.904, abs=0.003)
    assert (parameters.shape == 512).all(axis=1).mean() == pytest.approx(0.037, abs=0.006)
    assert (parameters.start >= 0).all()
    assert (parameters.start + parameters.shape <= 512).all()


def test_gates_open_as_often_as_asked() -> None:
    parameters = draw(PRESETS["cxr-lt-2024"], seeds_of(), PLANES, 384)
    punched = np.array([len(a) > 0 for a in parameters.anchor])
    assert punched.mean() == pytest.approx(0.1, abs=0.01)
    plain = draw(Augment(hflip_p=0.5, vflip_p=0.25), seeds_of(), PLANES, 512).matrix
    assert (plain[:, 0, 0] < 0).mean() == pytest.approx(0.5, abs=0.015)
    assert (plain[:, 1, 1] < 0).mean() == pytest.approx(0.25, abs=0.015)


def test_exactly_five_holes_of_five_percent_clipped_at_the_edge() -> None:
    parameters = draw(Augment(holes_p=1.0), seeds_of(), PLANES, 384)
    low = np.stack(parameters.anchor)
    length = np.stack(parameters.hole)
    assert low.shape == (len(KEYS), 10)
    assert length.max() == 19  # int(.05 · 384)
    assert (low >= 0).all()
    assert (low + length <= 384).all()
    assert 0 < (length < 19).mean() < 0.05  # a few are cut off at the far edges


def test_a_horizontal_flip_maps_the_right_edge_to_the_left() -> None:
    matrix = draw(Augment(hflip_p=1.0), seeds_of(), PLANES, 256).matrix[0]
    np.testing.assert_allclose(apply(matrix, 0, 0), [512, 0])
    np.testing.assert_allclose(apply(matrix, 256, 256), [0, 512])


def test_shift_scale_rotate_equals_opencv_composition() -> None:
    cv2 = pytest.importorskip("cv2")
    augment = Augment(affine_p=1.0, rotate=30.0, shift=0.1, scale=0.2, hflip_p=0.5, vflip_p=0.5)
    size = 128
    planes = np.full((200, 2), size)
    seeds = sample_seeds(5, 0, KEYS[:200], np.zeros(200, np.int64))
    got = draw(augment, seeds, planes, size).matrix
    u = uniforms(seeds, 48)[:, 40:]
    for i in range(200):
        angle, scale = 30.0 * (2 * u[i, 1] - 1), 1 + 0.2 * (2 * u[i, 2] - 1)
        forward = cv2.getRotationMatrix2D((size / 2, size / 2), angle, scale)
        forward[:, 2] += 0.1 * size * (2 * u[i, 3:5] - 1)
        forward = np.vstack([forward, [0, 0, 1]])
        flip = np.eye(3)
        if u[i, 5] < 0.5:
            flip = np.array([[-1, 0, size], [0, 1, 0], [0, 0, 1]]) @ flip
        if u[i, 6] < 0.5:
            flip = np.array([[1, 0, 0], [0, -1, size], [0, 0, 1]]) @ flip
        np.testing.assert_allclose(got[i], np.linalg.inv(flip @ forward), atol=1e-4)
