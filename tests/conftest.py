"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real X-rays and label tables; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("CXR_ENGINE_DATA", ROOT.parent / "shared" / "data")).resolve()
    if not (folder / "cxr-dev" / "labels.csv").is_file():
        pytest.skip("real X-rays absent: set CXR_ENGINE_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def cuda_or_skip() -> Callable[[str], None]:
    """Call it with a test's device: skips "cuda" where torch finds none."""

    def check(device: str) -> None:
        import torch

        if device == "cuda" and not torch.cuda.is_available():
            pytest.skip("no CUDA device on this machine")

    return check
