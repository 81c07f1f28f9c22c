"""Folds chosen at training time: scikit-learn's, by patient, a partition, the same on every rank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.model_selection import GroupKFold, GroupShuffleSplit

from cxr_engine.engine import Folds, Loader, LoaderConfig
from cxr_engine.engine.folds import resplit
from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.manifest import read_manifest


def frame_of(n: int = 400) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    patients = [f"p{i:03d}" for i in rng.integers(0, 90, n)]
    splits = {
        p: str(rng.choice(["train", "val", "test"], p=[0.7, 0.2, 0.1])) for p in set(patients)
    }
    return pl.DataFrame({"patient": patients, "split": [splits[p] for p in patients]})


def test_folds_are_those_of_scikit_learn() -> None:
    frame = frame_of()
    pool = frame.with_row_index("row").filter(pl.col("split") != "test")
    groups = pool["patient"].to_numpy()
    for fold, (_, val) in enumerate(GroupKFold(5).split(groups, groups=groups)):
        got = resplit(frame, Folds(n=5, fold=fold))
        expected = set(pool["row"].to_numpy()[val].tolist())
        assert set((got["split"] == "val").arg_true().to_list()) == expected
        assert ((got["split"] == "test") == (frame["split"] == "test")).all()
    splitter = GroupShuffleSplit(1, test_size=0.1, random_state=42)
    _, val = next(splitter.split(groups, groups=groups))
    got = resplit(frame, Folds(kind="group-shuffle"))
    assert set((got["split"] == "val").arg_true().to_list()) == set(
        pool["row"].to_numpy()[val].tolist()
    )


def test_every_patient_validates_once_and_never_trains_then() -> None:
    frame = frame_of()
    validated: list[str] = []
    for fold in range(4):
        got = resplit(frame, Folds(n=4, fold=fold))
        val = set(got.filter(pl.col("split") == "val")["patient"])
        assert not val & set(got.filter(pl.col("split") == "train")["patient"])
        validated += val
    assert sorted(validated) == sorted(set(frame.filter(pl.col("split") != "test")["patient"]))


def test_the_loader_streams_the_fold(phantom_shards: Path) -> None:
    manifest = read_manifest(phantom_shards).frame
    config = LoaderConfig(
        split="val", folds=Folds(n=3, fold=1), image_size=32, global_batch_size=16, threads=1
    )
    expected = (
        resplit(manifest, Folds(n=3, fold=1)).filter(pl.col("split") == "val")["key"].to_list()
    )
    with Loader(phantom_shards, config, "cpu") as loader:
        keys = [
            k for b in loader for k, valid in zip(b.keys, b.valid.tolist(), strict=True) if valid
        ]
        state = loader.state_dict()
    assert keys == expected
    other = config.model_copy(update={"folds": Folds(n=3, fold=2)})
    with (
        Loader(phantom_shards, other, "cpu") as loader,
        pytest.raises(UsageError, match="another stream"),
    ):
        loader.load_state_dict(state)


def test_wrong_folds_are_named() -> None:
    with pytest.raises(ValueError, match="fold 5 of 5 does not exist"):
        Folds(n=5, fold=5)
    with pytest.raises(UsageError, match="100 folds of"):
        resplit(frame_of(), Folds(n=100, fold=0))
