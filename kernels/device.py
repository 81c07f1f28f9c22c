"""Where the caller's arrays live: the one switch between NumPy, CuPy and torch.

The kernels see NumPy arrays on the host and CuPy arrays on a CUDA device, both of them views of
the caller's memory; the caller gets its own kind back. CuPy is imported only when an array on a
CUDA device arrives, Numba only when a host kernel runs, torch never.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, TypeAlias

import numpy as np

Array: TypeAlias = Any  # numpy.ndarray, cupy.ndarray or torch.Tensor; the three share no type
Library: TypeAlias = Literal["numpy", "cupy", "torch"]


@dataclass(frozen=True, slots=True)
class Place:
    """The library that results go back to, and the device that the kernels run on."""

    library: Library
    device: int | None  # CUDA ordinal; None on the host

    def __str__(self) -> str:
        return "the host" if self.device is None else f"cuda:{self.device}"

    def kernels(self) -> ModuleType:
        """The module with the kernels for this place; both have the same names and signatures."""
        name = "cpu" if self.device is None else "cuda"
        return importlib.import_module(f"cxr_engine.kernels.{name}")

    def view(self, array: Array) -> Any:
        """The caller's memory as a NumPy or a CuPy array, through DLPack.

        Only bfloat16, which neither of the two knows, is copied, to float32.
        """
        if _place(array, "array").library == "torch":
            array = array.detach()
            if str(array.dtype) == "torch.bfloat16":
                array = array.float()
            array = np.from_dlpack(array) if self.device is None else cupy().from_dlpack(array)
        return array

    def give_back(self, array: Any) -> Array:
        """A kernel's NumPy or CuPy result as the caller's kind of array, without a copy."""
        return sys.modules["torch"].from_dlpack(array) if self.library == "torch" else array

    @contextmanager
    def current(self) -> Iterator[None]:
        """Run what is inside on this device, in the order of the caller's current stream."""
        with ExitStack() as stack:
            if self.device is not None:
                stack.enter_context(cupy().cuda.Device(self.device))
                if self.library == "torch":
                    cuda = sys.modules["torch"].cuda
                    stack.enter_context(cuda.device(self.device))
                    stream = _Stream(cuda.current_stream(self.device).cuda_stream)
                    stack.enter_context(cupy().cuda.Stream.from_external(stream))
            yield


def place_of(**arrays: Array | None) -> Place:
    """Where the arrays live; the first one decides the library, and all must be on one device.

    None stands for an argument that was not given. On the host the libraries may be mixed.
    """
    places = {name: _place(array, name) for name, array in arrays.items() if array is not None}
    (first_name, first), *others = places.items()
    for name, place in others:
        if place.device != first.device:
            raise ValueError(
                f"{first_name} is on {first}, {name} on {place}; move them to one device"
            )
    return first


def cupy() -> ModuleType:
    """CuPy, needed from the first array on a CUDA device onwards."""
    try:
        return importlib.import_module("cupy")
    except ModuleNotFoundError as error:
        raise RuntimeError(
            "arrays on a CUDA device need CuPy, which is not installed; install "
            "cxr-engine[cuda12] or cxr-engine[cuda13], or pass host arrays (tensor.cpu())"
        ) from error


def to_host(array: Any) -> np.ndarray[Any, Any]:
    """A kernel's array on the host; waits for the device where there is one."""
    return array if isinstance(array, np.ndarray) else array.get()


@dataclass(frozen=True, slots=True)
class _Stream:
    """A stream of another library, by the CUDA stream protocol."""

    pointer: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


def _place(array: Array, name: str) -> Place:
    if isinstance(array, np.ndarray):
        return Place("numpy", None)
    # An array of a library that nobody has imported cannot exist: ask those that are there.
    if (torch := sys.modules.get("torch")) is not None and isinstance(array, torch.Tensor):
        if array.device.type == "cpu":
            return Place("torch", None)
        if array.device.type == "cuda":
            return Place("torch", array.device.index)
        raise TypeError(f"{name} is on {array.device}; kernels run on cpu and cuda: {name}.cpu()")
    if (module := sys.modules.get("cupy")) is not None and isinstance(array, module.ndarray):
        return Place("cupy", array.device.id)
    raise TypeError(
        f"{name} is a {type(array).__name__}; pass a NumPy array, a CuPy array or a torch tensor"
    )
