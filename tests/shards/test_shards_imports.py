"""Storage stays light: no accelerator library, and little for a program that only wants errors."""

from __future__ import annotations

import subprocess
import sys

import cxr_engine.shards


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_no_part_of_storage_loads_torch_cupy_or_dali() -> None:
    loaded = modules_after("from cxr_engine.shards import *")
    assert not loaded & {"torch", "cupy", "nvidia", "webdataset", "timm"}


def test_the_errors_load_neither_polars_nor_pyarrow() -> None:
    loaded = modules_after("import cxr_engine.shards.errors")
    assert not loaded & {"polars", "pyarrow", "numpy", "PIL"}


def test_workers_load_neither_polars_nor_pyarrow() -> None:
    loaded = modules_after("import cxr_engine.shards.executor")
    assert not loaded & {"polars", "pyarrow"}


def test_every_public_name_is_there() -> None:
    for name in cxr_engine.shards.__all__:
        assert getattr(cxr_engine.shards, name) is not None
