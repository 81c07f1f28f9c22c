"""The CUDA path as far as it goes without a device: NumPy in CuPy's place, CUDA C as C++, NVRTC."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_engine.kernels import cpu, cuda, cuda_source
from cxr_engine.kernels.study import ViewRule

RULES = [
    ViewRule(0.7, 0.3, 0.5, unknown_as, by_image)
    for unknown_as in (0, 1, 2)
    for by_image in (False, True)
] + [ViewRule(1.0, 0.0, 0.5, 1, False), ViewRule(1.0, 0.0, 0.5, 1, True)]
SOURCES = {
    "build_keys": [cuda_source.BUILD_KEYS],
    "mean_of_studies": [cuda_source.mean_of_studies(score) for score in ("float", "double")],
}


@pytest.fixture(params=["NumPy", "CUDA C as C++"])
def xp(request):
    """What takes CuPy's place."""
    return np if request.param == "NumPy" else request.getfixturevalue("emulated_cupy")


def test_ranking_equals_the_host_kernels_to_the_last_bit(draw, kind, xp):
    for seed in range(10):
        case = draw(kind, seed)
        on_host, on_device = cpu.ranking(*case), cuda.ranking(*case, xp=xp)
        np.testing.assert_array_equal(on_device.average_precision, on_host.average_precision)
        np.testing.assert_array_equal(on_device.roc_auc, on_host.roc_auc)


def test_few_threads_walk_over_all_entries(draw, emulated_cupy, monkeypatch):
    case = draw("unknown labels", 0, 300, 5)
    monkeypatch.setattr(cuda_source, "THREADS", 3)
    monkeypatch.setattr(cuda_source, "blocks", lambda _: (2,))
    on_device = cuda.ranking(*case, xp=emulated_cupy)
    np.testing.assert_array_equal(on_device.roc_auc, cpu.ranking(*case).roc_auc)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_aggregation_equals_the_host_kernels(rule, dtype, xp):
    rng = np.random.default_rng(0)
    scores = rng.random((200, 3)).astype(dtype)
    study = rng.integers(0, 80, 200)
    view = rng.integers(0, 3, 200).astype(np.uint8)
    expected, studies = cpu.aggregate_views(scores, study, view, rule)
    result, result_studies = cuda.aggregate_views(scores, study, view, rule, xp=xp)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result_studies, studies)
    if xp is np:
        np.testing.assert_allclose(result, expected, rtol=1e-6 if dtype != np.float64 else 1e-14)
    else:
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float64])
def test_targets_may_have_any_dtype(draw, dtype, xp):
    case = draw("unknown labels", 1, 100, 3)
    result = cuda.ranking(case.targets.astype(dtype), case.scores, case.known, None, xp=xp)
    np.testing.assert_array_equal(result.roc_auc, cpu.ranking(*case).roc_auc)


def test_no_rows_and_no_classes_are_no_problem(xp):
    no_rows = np.zeros((0, 3), np.float32)
    np.testing.assert_array_equal(
        cuda.ranking(no_rows, no_rows, None, None, xp=xp).roc_auc, [np.nan] * 3
    )
    assert cuda.ranking(no_rows.T, no_rows.T, None, None, xp=xp).average_precision.shape == (0,)
    index = np.zeros(0, np.uint8)
    scores, study = cuda.aggregate_views(no_rows, index, index, RULES[0], xp=xp)
    assert (scores.shape, study.shape) == ((0, 3), (0,))
    index = np.zeros(3, np.uint8)
    scores, study = cuda.aggregate_views(no_rows.T, index, index, RULES[0], xp=xp)
    assert (scores.shape, study.shape) == ((1, 0), (1,))


def message(call):
    with pytest.raises(ValueError, match=r"\[.* is ") as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("array", "entry", "value"),
    [
        ("scores", (5, 2), np.nan),
        ("scores", (6, 0), -np.inf),
        ("scores", (6, 0), 1e39),
        ("targets", (5, 2), 2),
        ("targets", (9, 1), np.nan),
        ("weights", 4, -1),
        ("weights", 4, np.inf),
    ],
)
def test_ranking_refuses_in_the_words_of_the_host_kernels(draw, xp, array, entry, value):
    case = draw("weights", 0, 10, 3)
    arrays = {
        name: getattr(case, name).astype(np.float64) for name in ("targets", "scores", "weights")
    }
    arrays[array][entry] = value
    arguments = arrays["targets"], arrays["scores"], None, arrays["weights"]
    text = message(lambda: cpu.ranking(*arguments))
    assert message(lambda: cuda.ranking(*arguments, xp=xp)) == text
    unknown = np.ones((10, 3), bool)
    if array != "weights":
        unknown[entry] = False
        result = cuda.ranking(*arguments[:2], unknown, arguments[3], xp=xp)
        np.testing.assert_array_equal(
            result.roc_auc, cpu.ranking(*arguments[:2], unknown, arguments[3]).roc_auc
        )


def test_the_first_bad_entry_is_named(draw, xp):
    case = draw("continuous", 0, 50, 3)
    case.scores[[7, 9], [2, 0]] = np.nan
    case.targets[[8, 7], [0, 2]] = 5
    text = message(lambda: cpu.ranking(*case))
    assert "row 7, class 2) is nan" in text
    assert message(lambda: cuda.ranking(*case, xp=xp)) == text


def test_aggregation_refuses_in_the_words_of_the_host_kernels(xp):
    for row, score, view in ((1, np.nan, 0), (2, 0.0, 3), (0, np.inf, 7)):
        scores, views = np.zeros((3, 2)), np.zeros(3, np.uint8)
        scores[row, 1], views[row] = score, view
        arguments = scores, np.arange(3), views, RULES[0]
        text = message(lambda: cpu.aggregate_views(*arguments))  # noqa: B023
        assert message(lambda: cuda.aggregate_views(*arguments, xp=xp)) == text  # noqa: B023


def test_every_cuda_source_is_listed_here():
    texts = [text for text in vars(cuda_source).values() if isinstance(text, str)]
    kernels = [text for text in texts if 'extern "C" __global__' in text]
    assert len(kernels) == len(SOURCES)
    assert all(f" {name}(" in "".join(kernels) for name in SOURCES)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("name", SOURCES)
def test_cuda_source_compiles_without_a_driver(name, architecture):
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc")
    options = [f"--gpu-architecture={architecture}".encode()]
    options += [option.encode() for option in cuda_source.OPTIONS]
    for source in SOURCES[name]:
        error, program = nvrtc.nvrtcCreateProgram(source.encode(), b"kernel.cu", 0, [], [])
        assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS
        (error,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        # Buffers of our own: NVRTC writes into what it is given, and b" " * 1 is CPython's one blank.
        log = bytearray(nvrtc.nvrtcGetProgramLogSize(program)[1])
        nvrtc.nvrtcGetProgramLog(program, log)
        assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS, log.decode()
        _, size = nvrtc.nvrtcGetCUBINSize(program)
        machine_code = bytearray(size)
        nvrtc.nvrtcGetCUBIN(program, machine_code)
        assert machine_code.startswith(b"\x7fELF")
        assert name.encode() in machine_code
        nvrtc.nvrtcDestroyProgram(program)
