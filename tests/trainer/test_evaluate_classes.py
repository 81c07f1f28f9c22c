"""`evaluate --classes`: metrics of some classes, by name, out of a model's many."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from cxr_engine.shards.class_lists import CXR_LT_2024_TASK1, CXR_LT_2024_TASK2, NIH
from cxr_engine.shards.errors import UsageError
from cxr_engine.trainer.evaluate import averages, evaluate, select_classes
from cxr_engine.trainer.predictions import Predictions


@pytest.fixture
def forty() -> Predictions:
    """Predictions of a 40-class model for 200 views of 100 studies."""
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 40)) < 0.3).astype(np.int8)
    return Predictions(
        path=Path("val.parquet"),
        frame=pl.DataFrame(),
        facts={"logit_scale": 1.0},
        class_names=CXR_LT_2024_TASK1,
        logits=(labels + rng.normal(0, 1, labels.shape)).astype(np.float32),
        labels=labels,
        study=np.arange(200) // 2,
        view=(np.arange(200) % 2).astype(np.uint8),
    )


def test_the_gold_set_is_the_mean_over_its_26_classes_by_name(forty: Predictions) -> None:
    every = evaluate(forty)
    gold = evaluate(select_classes(forty, CXR_LT_2024_TASK2))
    assert gold["finding"].to_list() == list(CXR_LT_2024_TASK2)
    same = every.filter(pl.col("finding").is_in(list(CXR_LT_2024_TASK2)))
    assert gold.sort("finding").equals(same.sort("finding"))
    assert averages(gold)["ap"].n_classes == 26
    assert averages(gold)["ap"].mean == pytest.approx(same["ap"].mean(), abs=1e-12)


def test_another_data_sets_names_stand_for_the_same_classes(forty: Predictions) -> None:
    nih = evaluate(select_classes(forty, NIH))
    every = dict(evaluate(forty).select("finding", "ap").iter_rows())
    assert nih["finding"].to_list() == list(NIH)
    ap = dict(nih.select("finding", "ap").iter_rows())
    assert ap["Effusion"] == every["Pleural Effusion"]
    assert ap["No Finding"] == every["Normal"]


def test_a_class_that_is_not_predicted_is_an_error_with_the_nearest(forty: Predictions) -> None:
    with pytest.raises(UsageError, match="no class is 'Fracture of rib'") as caught:
        select_classes(forty, ["Mass", "Fracture of rib"])
    assert "Fracture" in caught.value.remedy
    assert "val.parquet" in caught.value.where


def test_the_command_takes_lists_and_names(
    forty: Predictions, tmp_path: Path, typed: Callable[..., tuple[int, str, str]]
) -> None:
    columns = {f"logit:{n}": forty.logits[:, i] for i, n in enumerate(forty.class_names)}
    columns |= {f"target:{n}": forty.labels[:, i] for i, n in enumerate(forty.class_names)}
    views = pl.Series(["frontal", "lateral"] * 100)
    frame = pl.DataFrame({"study": forty.study, "view": views, **columns})
    facts = {"run": "r", "split": "test", "logit_scale": 1.0, "class_names": forty.class_names}
    table = frame.to_arrow().replace_schema_metadata({b"cxr-engine": json.dumps(facts).encode()})
    path = tmp_path / "test.parquet"
    pq.write_table(table, path)
    code, out, _ = typed("evaluate", path, "--json", "--classes", "cxr-lt-2024-task2")
    assert (code, json.loads(out)["means"]["ap"]["n_classes"]) == (0, 26)
    code, out, _ = typed("evaluate", path, "--json", "--classes", "Mass,Effusion")
    assert [row["finding"] for row in json.loads(out)["classes"]] == ["Mass", "Effusion"]
    code, _, error = typed("evaluate", path, "--classes", "Mas")
    assert code == 2
    assert "'Mass'" in error
