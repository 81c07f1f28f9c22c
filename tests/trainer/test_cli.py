"""The commands as users type them: the whole line, a kill in stage 2, and errors of three lines."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import polars as pl
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score

COMMAND = [sys.executable, "-c", "from cxr_engine.trainer.cli.main import main; main()"]
SMALL = [
    *("-o", "defaults.epochs=4"),
    *("-o", "stage.1.loader.image_size=32"),
    *("-o", "stage.2.loader.image_size=48"),
    *("-o", "stage.1.loader.global_batch_size=16"),
    *("-o", "stage.2.loader.global_batch_size=16"),
]


def cxr_engine(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd
    )


Typed = Callable[..., tuple[int, str, str]]


def train(data: Path, *arguments: str) -> list[str]:
    return ["train", "--recipe", "demo", "--data", str(data), "--threads", "2", *arguments, *SMALL]


def write_table(folder: Path, rows: list[tuple[str, str, str]]) -> Path:
    """labels.csv with image, patient, Mass and a picture for each row."""
    folder.mkdir()
    lines = ["image,patient,Mass", *(",".join(row) for row in rows)]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    for i, (name, _, _) in enumerate(rows):
        Image.new("L", (40, 30), 10 * i).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def killed_and_resumed(phantom_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which runs/demo was killed in stage 2 and taken up again."""
    cwd = tmp_path_factory.mktemp("killed")
    process = subprocess.Popen(
        [*COMMAND, *train(phantom_shards, "--stage", "all")], cwd=cwd, stderr=subprocess.DEVNULL
    )
    checkpoint = cwd / "runs" / "demo" / "stage2" / "checkpoints" / "last.safetensors"
    limit = monotonic() + 120
    while process.poll() is None and monotonic() < limit and not checkpoint.is_file():
        sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    done = cxr_engine(*train(phantom_shards, "--stage", "2"), cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "stage2: going on after epoch" in done.stderr
    return cwd


def test_a_run_killed_in_stage_two_ends_as_an_undisturbed_one(
    killed_and_resumed: Path, phantom_shards: Path, tmp_path: Path
) -> None:
    done = cxr_engine(*train(phantom_shards, "--stage", "all"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("stage1", "stage2"):
        path = Path("runs", "demo", name, "predictions", "val.parquet")
        assert pl.read_parquet(killed_and_resumed / path).equals(pl.read_parquet(tmp_path / path))


def test_evaluate_prints_the_ap_that_scikit_learn_finds(killed_and_resumed: Path) -> None:
    done = cxr_engine("evaluate", "--json", cwd=killed_and_resumed)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["run"], document["split"]) == ("stage2", "val")
    frame = pl.read_parquet(killed_and_resumed / "runs/demo/stage2/predictions/val.parquet")
    compared = 0
    for row in document["classes"]:
        targets = frame[f"target:{row['finding']}"]
        assert row["positives"] == targets.sum()
        if row["positives"] == 0:
            assert row["ap"] is None
            continue
        expected = average_precision_score(targets, frame[f"logit:{row['finding']}"])
        assert row["ap"] == pytest.approx(expected, abs=1e-6)
        compared += 1
    assert compared >= 8
    table = cxr_engine("evaluate", "runs/demo", "--run", "stage1", cwd=killed_and_resumed)
    assert "Cardiomegaly" in table.stdout
    assert "mean ap:" in table.stdout


def test_study_ap_is_that_of_the_weighted_mean_of_views(killed_and_resumed: Path) -> None:
    document = json.loads(cxr_engine("evaluate", "--json", cwd=killed_and_resumed).stdout)
    frame = pl.read_parquet(killed_and_resumed / "runs/demo/stage2/predictions/val.parquet")
    for row in document["classes"]:
        name = row["finding"]
        probability = 1 / (1 + (-pl.col(f"logit:{name}").cast(pl.Float64)).exp())
        views = (
            frame.with_columns(p=probability)
            .group_by("study", "view")
            .agg(pl.col("p").mean(), pl.col(f"target:{name}").max().alias("target"))
        )
        weight = pl.when(pl.col("view") == "frontal").then(0.7).otherwise(0.3)
        studies = (
            views.with_columns(w=weight)
            .group_by("study")
            .agg(
                ((pl.col("p") * pl.col("w")).sum() / pl.col("w").sum()).alias("p"),
                pl.col("target").max(),
            )
        )
        assert row["study_positives"] == studies["target"].sum()
        if row["study_positives"]:
            expected = average_precision_score(studies["target"], studies["p"])
            assert row["study_ap"] == pytest.approx(expected, abs=1e-6)


def test_shard_table_reports_where_the_rows_went(tmp_path: Path, typed: Typed) -> None:
    rows = [(f"{i}.png", f"p{i // 2}", str(i % 2)) for i in range(12)]
    write_table(tmp_path / "in", rows)
    code, out, err = typed("shard", "table", "in", "out", "--size", "32", "--json", "--jobs", "1")
    assert code == 0, err
    report = json.loads(out)
    assert report == json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["rows_read"] == report["rows_written"] == 12


GOOD = [(f"{i}.png", f"p{i}", "1") for i in range(4)]


def missing_image(folder: Path) -> list[str]:
    write_table(folder, GOOD)
    (folder / "2.png").unlink()
    return []


def unreadable_image(folder: Path) -> list[str]:
    write_table(folder, GOOD)
    (folder / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    return []


def absent_column(folder: Path) -> list[str]:
    write_table(folder, GOOD)
    return ["--patient", "subject"]


def duplicate_rows(folder: Path) -> list[str]:
    write_table(folder, [*GOOD, GOOD[1]])
    return []


def empty_folder(folder: Path) -> list[str]:
    folder.mkdir()
    return []


def full_output(folder: Path) -> list[str]:
    write_table(folder, GOOD)
    out = folder.parent / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    return []


@pytest.mark.parametrize(
    ("prepare", "exit_code", "named"),
    [
        (missing_image, 3, "2.png"),
        (unreadable_image, 3, "2.png"),
        (absent_column, 2, "subject"),
        (duplicate_rows, 3, "1.png"),
        (empty_folder, 2, "which table?"),
        (full_output, 2, "out"),
    ],
)
def test_bad_input_is_three_lines_an_exit_code_and_nothing_half_written(
    tmp_path: Path, typed: Typed, prepare: Callable[[Path], list[str]], exit_code: int, named: str
) -> None:
    extra = prepare(tmp_path / "in")
    before = sorted(tmp_path.rglob("*"))
    usual = ("--size", "32", "--jobs", "1", "--allow-empty-val")
    code, out, err = typed("shard", "table", "in", "out", *usual, *extra)
    assert code == exit_code, err
    *_, what, where, remedy = err.strip().splitlines()
    assert what.startswith("error: ")
    assert where.startswith("where: ")
    assert remedy.startswith("remedy: ")
    assert named in what + where
    assert "Traceback" not in err
    assert out == ""
    after = set(tmp_path.rglob("*")) - set(before)
    # What is found only as pictures are read leaves its finished shards to a rerun.
    assert {path.suffix for path in after} <= {"", ".tar", ".jsonl"}
    assert not after or prepare is unreadable_image


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["train", "--stage", "2"], 3),
        (["train", "--recipe", "demo", "--data", "nowhere"], 3),
        (["train", "--recipe", "nosuch"], 2),
        (["train", "--recipe", "demo", "--device", "cuda"], 5),
        (["evaluate"], 2),
        (["evaluate", "nowhere.parquet"], 3),
        (["shard", "nih", "nowhere", "out"], 2),
        (["demo", "--images", "pictures"], 2),
        (["train", "--nosuch"], 2),
    ],
)
def test_commands_without_what_they_need_say_so(
    tmp_path: Path, typed: Typed, arguments: list[str], exit_code: int
) -> None:
    import torch

    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    code, out, err = typed(*arguments)
    assert code == exit_code, err
    assert (out, "Traceback" in err) == ("", False)
    assert not (tmp_path / "out").exists()


def check_demo(folder: Path, code: int, out: str, err: str) -> None:
    assert code == 0, err
    assert "stage2: mAP" in out
    for name in ("sheet.png", "run/curves.png"):
        assert Image.open(folder / name).width > 500
    assert (folder / "run" / "stage2" / "predictions" / "val.parquet").is_file()


def test_demo_draws_shards_trains_and_evaluates(tmp_path: Path, typed: Typed) -> None:
    check_demo(tmp_path / "cxr-demo", *typed("demo", "--count", "100"))
    code, _, err = typed("demo", "--out", "cxr-demo/sheet.png")
    assert code == 2
    assert "not a folder" in err


@pytest.mark.slow
def test_demo_runs_on_the_users_own_pictures(tmp_path: Path, typed: Typed, real_data: Path) -> None:
    labels = real_data / "cxr-dev" / "labels.csv"
    own = ("demo", "--images", labels.parent, "--labels", labels, "--out", "own")
    check_demo(tmp_path / "own", *typed(*own))
    check_demo(tmp_path / "own", *typed(*own))  # an earlier demo's folder is used again
