"""The stream: order, fetch, decode and augment, hand out, measure."""

from cxr_engine.engine.accumulator import Accumulator, Collected, per_class_metrics
from cxr_engine.engine.augment import PRESETS, Augment
from cxr_engine.engine.batch import Batch
from cxr_engine.engine.config import LoaderConfig, Sampling
from cxr_engine.engine.folds import Folds
from cxr_engine.engine.loader import Loader

__all__ = [
    "PRESETS",
    "Accumulator",
    "Augment",
    "Batch",
    "Collected",
    "Folds",
    "Loader",
    "LoaderConfig",
    "Sampling",
    "per_class_metrics",
]
