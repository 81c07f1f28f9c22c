"""The one DALI graph: bytes and parameters in, normalised batches out. DALI is imported here only.

decode (gray) → slice (crop box) → warp_perspective (all geometry, one resampling) → erase (holes)
→ cat (three channels) → crop_mirror_normalize. CPU and GPU differ in where the operators run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
import torch.utils.dlpack
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, types

from cxr_engine.engine.augment import Parameters

Feed = tuple[list[NDArray[np.uint8]], Parameters, int]  # encoded bytes, parameters, image size

_FLOATS = {"float32": types.FLOAT, "float16": types.FLOAT16}
_INPUTS = (
    (types.UINT8, 1),  # encoded picture
    (types.INT32, 1),  # crop box: y, x
    (types.INT32, 1),  # crop box: height, width
    (types.FLOAT, 2),  # matrix
    (types.FLOAT, 1),  # holes: y, x, …
    (types.FLOAT, 1),  # holes: height, width, …
    (types.FLOAT, 1),  # output: height, width
)


def graph(
    source: Callable[[], tuple[Any, ...]],
    device: Literal["cpu", "gpu"],
    *,
    border: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    dtype: str,
) -> Any:
    """The graph for one device; mean and std on the 0–1 scale, one value per output channel."""
    encoded, start, shape, matrix, anchor, hole, size = fn.external_source(
        source=source,
        num_outputs=len(_INPUTS),
        batch=True,
        dtype=[dtype for dtype, _ in _INPUTS],
        ndim=[ndim for _, ndim in _INPUTS],
    )
    # GRAY always: ANY_DATA on a gray JPEG corrupts the heap in DALI 2.4.
    plane = fn.decoders.image(
        encoded, device="mixed" if device == "gpu" else "cpu", output_type=types.GRAY
    )
    crop = fn.slice(plane, start, shape, axis_names="HW")
    images = fn.experimental.warp_perspective(
        crop, matrix=matrix, size=size, border_mode=border, fill_value=0.0, pixel_origin="corner"
    )
    images = fn.erase(images, anchor=anchor, shape=hole, axis_names="HW", fill_value=0.0)
    if len(mean) > 1:
        images = fn.cat(*[images] * len(mean), axis=2)
    return fn.crop_mirror_normalize(
        images,
        mean=[255.0 * m for m in mean],
        std=[255.0 * s for s in std],
        dtype=_FLOATS[dtype],
        output_layout="HWC",
    )


class DecodePipeline:
    """Runs the graph a few batches ahead of its consumer.

    `feed` returns the next batch to start, or None when there is no more for now.
    """

    def __init__(
        self,
        feed: Callable[[], Feed | None],
        device: torch.device,
        *,
        max_batch_size: int,
        threads: int,
        border: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        dtype: str,
    ) -> None:
        self._feed = feed
        self._cuda = device if device.type == "cuda" else None
        self._pipeline = Pipeline(
            batch_size=max_batch_size,
            num_threads=threads,
            device_id=(device.index or 0) if self._cuda else None,
            prefetch_queue_depth=2,
            exec_dynamic=True,  # its outputs own their memory: handed to torch without a copy
        )
        with self._pipeline:
            output = graph(
                self._source,
                "gpu" if self._cuda else "cpu",
                border=border,
                mean=mean,
                std=std,
                dtype=dtype,
            )
            self._pipeline.set_outputs(output)
        self._pipeline.build()

    def run(self) -> torch.Tensor | None:
        """The next batch, (B, channels, S, S) channels-last; None once all that was fed is out."""
        try:
            stream = torch.cuda.current_stream(self._cuda) if self._cuda else None
            (output,) = self._pipeline.run(stream)
        except StopIteration:
            self._pipeline.reset()
            return None
        return torch.utils.dlpack.from_dlpack(output.as_tensor()).permute(0, 3, 1, 2)

    def close(self) -> None:
        del self._pipeline

    def _source(self) -> tuple[Any, ...]:
        fed = self._feed()
        if fed is None:
            raise StopIteration
        data, parameters, image_size = fed
        size = np.full((len(data), 2), image_size, np.float32)
        return (
            data,
            parameters.start,
            parameters.shape,
            parameters.matrix,
            parameters.anchor,
            parameters.hole,
            size,
        )
