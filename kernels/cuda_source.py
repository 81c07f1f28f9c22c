"""CUDA C for the steps that array code does badly; compiled by CuPy on first use.

Plain C with grid-stride loops and no shared memory: so that a C++ compiler and two nested loops can
stand in for a device. Fused multiply-add is off: it would round otherwise than the host does.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

OPTIONS = ("--fmad=false",)
THREADS = 256  # per block

# One 64-bit key per entry of the score matrix, so that one flat sort ranks all classes at once:
# class (31 bits), score (32 bits, ascending as scores descend, −0 as 0), label (1 bit). Unknown
# entries get the class after the last one. codes: 0 and 1 labels, 2 a bad target, 3 unknown.
# first_bad: the smallest flat index of a score that is not finite, and of a bad target.
BUILD_KEYS = r"""
extern "C" __global__ void build_keys(
    const float* scores, const unsigned char* codes, const long long n_entries,
    const long long n_classes, unsigned long long* keys, long long* first_bad)
{
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n_entries; i += step) {
        const unsigned int code = codes[i];
        if (code == 3u) {
            keys[i] = (unsigned long long)n_classes << 33;
            continue;
        }
        const unsigned int bits = __float_as_uint(scores[i]);
        if (((bits >> 23) & 255u) == 255u) atomicMin(&first_bad[0], i);
        if (code == 2u) atomicMin(&first_bad[1], i);
        unsigned int rank = (bits >> 31) ? bits : bits ^ 0x7fffffffu;
        if (bits == 0x80000000u) rank = 0x7fffffffu;
        keys[i] = ((unsigned long long)(i % n_classes) << 33)
            | ((unsigned long long)rank << 1) | (code & 1u);
    }
}
"""

# One thread per study and class adds up the study's rows in their order: deterministic, and the
# same to the last bit as the host. SCORE is float or double.
MEAN_OF_STUDIES = r"""
extern "C" __global__ void mean_of_studies(
    const SCORE* scores, const long long* order, const long long* edges,
    const unsigned char* views, const double frontal, const double lateral, const double unknown,
    const int unknown_as, const int by_image, const long long n_studies, const long long n_classes,
    SCORE* aggregated)
{
    const double weights[3] = {frontal, lateral, unknown};
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long t = (long long)blockIdx.x * blockDim.x + threadIdx.x;
         t < n_studies * n_classes; t += step) {
        const long long study = t / n_classes, column = t % n_classes;
        double sums[3] = {0.0, 0.0, 0.0}, counts[3] = {0.0, 0.0, 0.0};
        for (long long i = edges[study]; i < edges[study + 1]; ++i) {
            const int view = views[order[i]] == 2 ? unknown_as : views[order[i]];
            const double score = (double)scores[order[i] * n_classes + column];
            // Constant indices keep the sums in registers.
            if (view == 0) { sums[0] += score; counts[0] += 1.0; }
            if (view == 1) { sums[1] += score; counts[1] += 1.0; }
            if (view == 2) { sums[2] += score; counts[2] += 1.0; }
        }
        double shares[3], total = 0.0;
        for (int view = 0; view < 3; ++view) {
            shares[view] = by_image ? counts[view] : (counts[view] > 0.0 ? 1.0 : 0.0);
            total += shares[view] * weights[view];
        }
        const bool weighs = total > 0.0;
        if (!weighs) total = shares[0] + shares[1] + shares[2];
        double mean = 0.0;
        for (int view = 0; view < 3; ++view)
            if (counts[view] > 0.0)
                mean += (weighs ? shares[view] * weights[view] : shares[view]) / total
                    * (sums[view] / counts[view]);
        aggregated[t] = (SCORE)mean;
    }
}
"""


@cache
def mean_of_studies(score: str) -> str:
    """The source for scores that are "float" or "double"."""
    return MEAN_OF_STUDIES.replace("SCORE", score)


@cache
def kernel(source: str, name: str, xp: ModuleType) -> Any:
    """The compiled kernel; xp is CuPy."""
    return xp.RawKernel(source, name, options=OPTIONS)


def blocks(n_threads: int) -> tuple[int]:
    """A grid with a thread for each of n_threads, up to the largest grid that needs no thought."""
    return (min(max(1, -(-n_threads // THREADS)), 1 << 20),)
