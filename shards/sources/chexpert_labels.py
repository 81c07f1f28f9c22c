"""The fourteen labels of the CheXpert labeller, in CheXpert's own and in MIMIC's tables."""

from __future__ import annotations

import polars as pl

from cxr_engine.shards.class_lists import CHEXPERT
from cxr_engine.shards.findings import LABEL_PREFIX, LabelPolicy, is_uncertain
from cxr_engine.shards.sources.label_columns import LabelColumns, read_labels
from cxr_engine.shards.sources.text_table import TextTable

_NO_FINDING = "No Finding"
_NOT_A_FINDING = (_NO_FINDING, "Support Devices")


def read_chexpert_labels(table: TextTable, policy: LabelPolicy) -> LabelColumns:
    """The labels under the policy; "No Finding" is settled by the other findings first.

    The labeller writes 1 or nothing there: 1 exactly if no finding, support devices apart, is
    positive or uncertain. A blank beside such a finding is therefore a 0, not a silence.
    """
    labels = read_labels(table, CHEXPERT, policy)
    marked = pl.repeat(False, table.cells.height, dtype=pl.Boolean, eager=True)
    for name in CHEXPERT:
        if name not in _NOT_A_FINDING:
            cells = table.column(name, "--labels")
            marked |= is_uncertain(cells) | cells.is_in(["1", "1.0"])
    place = CHEXPERT.index(_NO_FINDING)
    blank = table.column(_NO_FINDING, "--labels") == ""
    settled = pl.select(
        pl.when(blank & marked).then(pl.lit(0, pl.Int8)).otherwise(labels.columns[place])
    ).to_series()
    columns = list(labels.columns)
    columns[place] = settled.alias(LABEL_PREFIX + _NO_FINDING)
    return LabelColumns(columns, labels.uncertain)
