"""Metrics and study aggregation: array in, array out, on the device where the array lies."""

from cxr_engine.kernels.average_precision import MeanAP, average_precision, mean_ap
from cxr_engine.kernels.roc_auc import roc_auc
from cxr_engine.kernels.study import FRONTAL, LATERAL, UNKNOWN, aggregate_views

__all__ = [
    "FRONTAL",
    "LATERAL",
    "UNKNOWN",
    "MeanAP",
    "aggregate_views",
    "average_precision",
    "mean_ap",
    "roc_auc",
]
