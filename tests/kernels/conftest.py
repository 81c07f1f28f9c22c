"""Generated score matrices of every odd kind, and a stand-in for a CUDA device."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

KINDS = (
    "continuous",
    "ties",
    "two scores",
    "constant",
    "no positives",
    "all positives",
    "one row",
    "rare",
    "denormals",
    "huge",
    "unknown labels",
    "weights",
    "weights and unknown labels",
)


@dataclass(frozen=True)
class Case:
    """Arguments of the ranking metrics."""

    targets: Any  # (N, C) float32
    scores: Any  # (N, C) float32
    known: Any | None  # (N, C) bool
    weights: Any | None  # (N,) float64

    def __iter__(self) -> Any:
        return iter((self.targets, self.scores, self.known, self.weights))

    def of_class(self, c: int) -> tuple[Any, Any, Any]:
        """Targets, scores and weights of one class where known: what scikit-learn takes."""
        known = slice(None) if self.known is None else self.known[:, c]
        weights = None if self.weights is None else self.weights[known]
        return self.targets[known, c], self.scores[known, c], weights


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """What is odd about the case."""
    return request.param


@pytest.fixture(scope="session")
def draw() -> Callable[..., Case]:
    """Draws the case of a kind and a seed."""
    return _draw


def _draw(kind: str, seed: int, n_rows: int | None = None, n_classes: int | None = None) -> Case:
    rng = np.random.default_rng([KINDS.index(kind), seed])
    n = n_rows or int(np.exp(rng.uniform(0, np.log(2000))))
    c = n_classes or int(rng.integers(1, 7))
    if kind == "one row":
        n = 1
    prevalence = rng.uniform(0.002 if kind == "rare" else 0.05, 0.01 if kind == "rare" else 0.9, c)
    targets = (rng.random((n, c)) < prevalence).astype(np.float32)
    scores = (rng.standard_normal((n, c)) + targets).astype(np.float32)
    if kind == "no positives":
        targets[:] = 0
    elif kind == "all positives":
        targets[:] = 1
    elif kind == "ties":
        scores = scores.round(int(rng.integers(0, 2)))  # rounds to −0, too
    elif kind == "two scores":
        scores = np.where(scores > 0, np.float32(0.5), np.float32(-0.5))
    elif kind == "constant":
        scores[:] = scores[0]
    elif kind == "denormals":
        scores = (scores * 1e-41).astype(np.float32)
    elif kind == "huge":
        scores = (scores.clip(-3.4, 3.4) * 1e38).astype(np.float32)
    known = rng.random((n, c)) < rng.uniform(0.1, 0.95) if "unknown" in kind else None
    weights = None
    if "weights" in kind:
        weights = rng.exponential(size=n) * 10.0 ** rng.integers(-3, 3)
        weights[rng.random(n) < 0.1] = 0
    return Case(targets, scores, known, weights)


_DEVICE_IN_C = r"""
#include <cstring>
#define __global__
struct Index { long long x; };
static Index gridDim, blockDim, blockIdx, threadIdx;
inline unsigned int __float_as_uint(float f) { unsigned int u; memcpy(&u, &f, 4); return u; }
inline long long atomicMin(long long* address, long long value) {
    const long long old = *address;
    if (value < old) *address = value;
    return old;
}
extern "C" void become(long long grid, long long block, long long b, long long t) {
    gridDim.x = grid; blockDim.x = block; blockIdx.x = b; threadIdx.x = t;
}
"""


class EmulatedCupy:
    """NumPy with a RawKernel: the CUDA C runs as C++ on the host, thread after thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def RawKernel(self, source: str, name: str, options: tuple[str, ...]) -> Callable[..., None]:
        assert options == ("--fmad=false",)  # what -ffp-contract=off says to g++
        folder = self.folder / f"{name}-{abs(hash(source))}"
        folder.mkdir(exist_ok=True)
        (folder / "kernel.cpp").write_text(_DEVICE_IN_C + source)
        command = ["g++", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Werror"]
        subprocess.run([*command, "kernel.cpp", "-o", "kernel.so"], cwd=folder, check=True)
        library = ctypes.CDLL(str(folder / "kernel.so"))

        def launch(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            arguments = tuple(map(_as_c, arguments))
            for b, t in itertools.product(range(grid[0]), range(block[0])):
                library.become(*map(ctypes.c_longlong, (grid[0], block[0], b, t)))
                library[name](*arguments)

        return launch


def _as_c(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        return ctypes.c_void_p(value.ctypes.data)
    return {np.int32: ctypes.c_int, np.int64: ctypes.c_longlong, np.float64: ctypes.c_double}[
        type(value)
    ](value)


@pytest.fixture(scope="session")
def emulated_cupy(tmp_path_factory: pytest.TempPathFactory) -> EmulatedCupy:
    """CuPy's place taken by NumPy and a C++ compiler; skips where there is none."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to run CUDA C on the host with")
    return EmulatedCupy(tmp_path_factory.mktemp("emulated"))
