"""cxr-engine verify as typed: exit codes, lines and JSON."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_engine.trainer.cli.verify import _seconds

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shards(phantom_shards: Path, tmp_path: Path) -> Path:
    """A copy to damage, in the folder where commands run."""
    return shutil.copytree(phantom_shards, tmp_path / "shards")


@pytest.mark.parametrize("flags", [(), ("--full",), ("--decode", "--jobs", "2")])
def test_a_good_data_set_exits_with_0(shards: Path, typed: Typed, flags: tuple[str, ...]) -> None:
    code, out, err = typed("verify", "shards", *flags)
    assert (code, err.strip()) == (0, "")
    assert out.endswith("no problem found\n")


def test_problems_are_lines_with_a_remedy_and_exit_4(shards: Path, typed: Typed) -> None:
    os.truncate(shards / "train-000001.tar", 100_000)
    code, out, err = typed("verify", "shards", "--full")
    assert code == 4
    assert "train-000001.tar: 100,000 bytes instead of" in out
    assert "train-000001.tar, member " in out
    assert ": the shard ends before it" in out
    assert out.count("remedy: restore the shard from a copy") == 1
    assert "error: " in err
    assert "in 1 shard\nwhere: shards\nremedy: " in err
    assert "Traceback" not in err


def test_json_holds_every_problem(shards: Path, typed: Typed) -> None:
    (shards / "val-000000.tar").unlink()
    code, out, _ = typed("verify", "shards", "--json")
    report = json.loads(out)
    assert (code, report["version"], report["complete"], report["mode"]) == (4, 1, True, "fast")
    (problem,) = report["problems"]
    assert (problem["shard"], problem["found"]) == ("val-000000.tar", "it is missing")
    assert {"member", "key", "remedy"} <= problem.keys()


def test_a_run_out_of_time_exits_with_75_and_is_resumed(
    shards: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_engine.trainer.cli.verify._seconds", lambda _: 1e-9)
    command = ("verify", "shards", "--full", "--jobs", "1", "--time-limit", "1s")
    code, _, err = typed(*command)
    assert code == 75
    assert "--resume" in err
    codes = [typed(*command, "--resume")[0] for _ in range(len(list(shards.glob("*.tar"))) - 1)]
    assert codes == [75] * (len(codes) - 1) + [0]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("1h", 3600), ("1h30m5s", 5405)]
)
def test_durations(text: str, seconds: float) -> None:
    assert _seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1d", "-5m", "1.5h", "5m1h", "0"])
def test_what_is_no_duration_is_refused(shards: Path, typed: Typed, text: str) -> None:
    code, out, err = typed("verify", "shards", "--time-limit", text)
    assert (code, out) == (2, "")
    assert "where: --time-limit" in err


def test_a_folder_without_shards_is_refused(typed: Typed) -> None:
    code, _, err = typed("verify", "nowhere")
    assert code == 3
    assert "no such folder of shards" in err
