"""Arrays stay in their library, on their device, in their place; no import without need."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cxr_engine.kernels import aggregate_views, average_precision, mean_ap, roc_auc
from cxr_engine.kernels.device import Place, place_of


def run_python(code, **environment):
    environment = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_importing_the_package_imports_no_heavy_library():
    code = (
        "import sys, cxr_engine.kernels;"
        "print([m for m in ('torch', 'cupy', 'numba') if m in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


def test_numpy_arrays_need_neither_torch_nor_cupy():
    code = (
        "import sys, numpy as np; from cxr_engine.kernels import average_precision;"
        "average_precision(np.eye(3), np.eye(3));"
        "print([m for m in ('torch', 'cupy') if m in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


def test_kernels_run_where_machine_code_cannot_be_kept():
    code = (
        "import numpy as np; from cxr_engine.kernels import average_precision;"
        "print(average_precision(np.eye(3), np.eye(3)))"
    )
    # A locator that finds nothing, as where package and home are read-only.
    environment = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    assert run_python(code, **environment).strip() == "[1. 1. 1.]"


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_a_tensor_is_viewed_not_copied(dtype):
    tensor = torch.ones(4, 3, dtype=dtype)
    view = place_of(tensor=tensor).view(tensor)
    assert view.ctypes.data == tensor.data_ptr()
    assert view.shape == (4, 3)


def test_a_result_goes_back_without_a_copy():
    result = np.array([1.0, 2.0])
    tensor = Place("torch", None).give_back(result)
    assert tensor.data_ptr() == result.ctypes.data
    assert Place("numpy", None).give_back(result) is result


def test_tensors_give_tensors_of_equal_values(draw):
    case = draw("weights and unknown labels", 0, 500, 4)
    tensors = [torch.from_numpy(array) for array in case]
    for metric in (average_precision, roc_auc):
        result = metric(*tensors)
        assert isinstance(result, torch.Tensor)
        assert result.numpy().tobytes() == metric(*case).tobytes()
    assert mean_ap(average_precision(*tensors)) == mean_ap(average_precision(*case))
    scores, study = aggregate_views(
        tensors[1], torch.arange(500) // 2, torch.arange(500).to(torch.uint8) % 3
    )
    assert (scores.dtype, study.dtype) == (torch.float32, torch.int64)
    assert (scores.shape, study.shape) == ((250, 4), (250,))


def test_tensors_with_a_gradient_and_transposed_tensors_are_taken(draw):
    case = draw("ties", 0, 200, 3)
    scores = torch.from_numpy(case.scores.T.copy()).T.requires_grad_()
    result = average_precision(torch.from_numpy(case.targets), scores)
    assert result.numpy().tobytes() == average_precision(*case).tobytes()


def test_bfloat16_is_ranked_as_the_float32_it_stands_for(draw):
    case = draw("continuous", 0, 200, 3)
    scores = torch.from_numpy(case.scores).bfloat16()
    result = average_precision(torch.from_numpy(case.targets), scores)
    expected = average_precision(case.targets, scores.float().numpy())
    assert result.numpy().tobytes() == expected.tobytes()


def test_host_arrays_may_be_mixed_and_scores_decide(draw):
    case = draw("unknown labels", 0, 200, 3)
    assert isinstance(
        average_precision(case.targets, torch.from_numpy(case.scores), case.known), torch.Tensor
    )
    assert isinstance(
        average_precision(torch.from_numpy(case.targets), case.scores, case.known), np.ndarray
    )


def test_refuses_devices_that_differ_or_that_no_kernel_runs_on():
    class CudaTensor(torch.Tensor):
        device = torch.device("cuda:1")

    scores = torch.zeros(2, 2)
    on_cuda = torch.zeros(2, 2).as_subclass(CudaTensor)
    with pytest.raises(ValueError, match="scores is on the host, targets on cuda:1"):
        average_precision(on_cuda, scores)
    with pytest.raises(TypeError, match=r"scores is on meta; .* scores\.cpu\(\)"):
        average_precision(scores, torch.zeros(2, 2, device="meta"))


def test_cupy_missing_is_said_with_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with (
        pytest.raises(RuntimeError, match=r"need CuPy.*cxr-engine\[cuda12\].*tensor.cpu\(\)"),
        Place("torch", 0).current(),
    ):
        pass


def test_cupy_runs_on_the_device_and_stream_that_torch_is_on(monkeypatch):
    entered = []

    @contextmanager
    def entering(name, value):
        entered.append((name, value))
        yield
        entered.remove((name, value))

    cupy = SimpleNamespace(
        cuda=SimpleNamespace(
            Device=lambda index: entering("cupy device", index),
            Stream=SimpleNamespace(
                from_external=lambda stream: entering("cupy stream", stream.__cuda_stream__())
            ),
        )
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(torch.cuda, "device", lambda index: entering("torch device", index))
    monkeypatch.setattr(
        torch.cuda, "current_stream", lambda index: SimpleNamespace(cuda_stream=1000 + index)
    )
    with Place("torch", 3).current():
        assert entered == [("cupy device", 3), ("torch device", 3), ("cupy stream", (0, 1003))]
    assert entered == []
    with Place("cupy", 2).current():
        assert entered == [("cupy device", 2)]
