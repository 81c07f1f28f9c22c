"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--faults", type=int, default=10, help="how many faults each test of faults provokes"
    )


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> int:
    """The number given as --faults."""
    return int(request.config.getoption("--faults"))


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


@pytest.fixture(scope="session")
def phantom_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 90 drawn X-rays, 64 pixels, in three or more shards; read-only."""
    from cxr_engine.shards import ShardOptions, TableColumns, build_shards, read_table
    from cxr_engine.shards.phantom import write_phantoms

    folder = tmp_path_factory.mktemp("phantom")
    labels = write_phantoms(folder / "drawn", 90, seed=3, size=64)
    table = read_table(labels, folder / "drawn" / "images", TableColumns())
    options = ShardOptions(
        size=64, shard_samples=32, jobs=1, val_fraction=0.3, allow_empty_val=True
    )
    build_shards(table, folder / "shards", options)
    return folder / "shards"


@pytest.fixture
def typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """A command in this process, in tmp_path: its exit code, stdout and stderr."""
    from cxr_engine.trainer.cli.main import main

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["cxr-engine", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run
