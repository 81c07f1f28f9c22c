"""The package as installed: one module, one name; a quick command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = (
    "torch",
    "cupy",
    "nvidia.dali",
    "polars",
    "numba",
    "sklearn",
    "timm",
    "matplotlib",
    "pyarrow",
)


def python(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_module_is_loaded_under_two_names() -> None:
    """Folders named engine and trainer lie in the checkout: nothing may import them as such."""
    script = """
import importlib, pkgutil, sys
for part in ("engine", "kernels", "shards", "trainer"):
    package = importlib.import_module(f"cxr_engine.{part}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
files = {}
for name, module in list(sys.modules.items()):
    file = getattr(module, "__file__", None)
    if file and name != "__main__":
        files.setdefault(file, set()).add(module.__name__)
twice = {file: names for file, names in files.items() if len(names) > 1 and "cxr_engine" in str(names)}
assert not twice, twice
ours = [n for n in sys.modules if n.startswith("cxr_engine.")]
assert len(ours) > 40, ours
"""
    python(script)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["shard", "table", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = f"""
import sys
from cxr_engine.trainer.cli.main import main
sys.argv = ["cxr-engine", *{arguments!r}]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = [name for name in {HEAVY!r} if name in sys.modules]
assert not heavy, heavy
"""
    assert python(script)


def test_shards_and_kernels_import_no_trainer_and_no_torch() -> None:
    script = """
import sys
import cxr_engine.shards.build, cxr_engine.shards.store, cxr_engine.kernels
loaded = [n for n in ("torch", "cupy", "nvidia.dali", "cxr_engine.engine", "cxr_engine.trainer") if n in sys.modules]
assert not loaded, loaded
"""
    python(script)
