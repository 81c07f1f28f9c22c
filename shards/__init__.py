"""Storage: source files -> tars and manifest -> bytes.

The names below load on first use: a program that only wants the errors, such as
`cxr-engine --help`, does not pay for polars and pyarrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxr_engine.shards.build import build_shards
    from cxr_engine.shards.check import Problem
    from cxr_engine.shards.errors import DataError, IntegrityError, ResourceError, UsageError
    from cxr_engine.shards.estimate import Estimate, estimate_shards
    from cxr_engine.shards.findings import (
        LABEL_PREFIX,
        NEGATIVE,
        POSITIVE,
        UNKNOWN,
        LabelPolicy,
        class_hash,
    )
    from cxr_engine.shards.leaks import check_leaks
    from cxr_engine.shards.manifest import (
        MANIFEST,
        Manifest,
        ShardInfo,
        label_matrix,
        read_manifest,
        write_manifest,
    )
    from cxr_engine.shards.options import ShardOptions
    from cxr_engine.shards.report import Report
    from cxr_engine.shards.sources import SourceTable
    from cxr_engine.shards.sources.chexpert import read_chexpert
    from cxr_engine.shards.sources.cxr_lt_2026 import read_cxr_lt_2026
    from cxr_engine.shards.sources.detect import detect_layout
    from cxr_engine.shards.sources.dicom import read_dicom
    from cxr_engine.shards.sources.mimic import read_mimic
    from cxr_engine.shards.sources.nih import read_nih
    from cxr_engine.shards.sources.padchest import read_padchest
    from cxr_engine.shards.sources.table import read_table
    from cxr_engine.shards.sources.table_columns import TableColumns
    from cxr_engine.shards.split import SPLITS
    from cxr_engine.shards.store import LocalStore
    from cxr_engine.shards.tar import TarError, TarMember, walk
    from cxr_engine.shards.verify import VerifyReport, verify_shards
    from cxr_engine.shards.views import VIEWS, view_of

__all__ = [
    "LABEL_PREFIX",
    "MANIFEST",
    "NEGATIVE",
    "POSITIVE",
    "SPLITS",
    "UNKNOWN",
    "VIEWS",
    "DataError",
    "Estimate",
    "IntegrityError",
    "LabelPolicy",
    "LocalStore",
    "Manifest",
    "Problem",
    "Report",
    "ResourceError",
    "ShardInfo",
    "ShardOptions",
    "SourceTable",
    "TableColumns",
    "TarError",
    "TarMember",
    "UsageError",
    "VerifyReport",
    "build_shards",
    "check_leaks",
    "class_hash",
    "detect_layout",
    "estimate_shards",
    "label_matrix",
    "read_chexpert",
    "read_cxr_lt_2026",
    "read_dicom",
    "read_manifest",
    "read_mimic",
    "read_nih",
    "read_padchest",
    "read_table",
    "verify_shards",
    "view_of",
    "walk",
    "write_manifest",
]

_HOMES = {
    "build": ("build_shards",),
    "check": ("Problem",),
    "errors": (
        "DataError",
        "IntegrityError",
        "ResourceError",
        "UsageError",
    ),
    "estimate": (
        "Estimate",
        "estimate_shards",
    ),
    "findings": (
        "LABEL_PREFIX",
        "NEGATIVE",
        "POSITIVE",
        "UNKNOWN",
        "LabelPolicy",
        "class_hash",
    ),
    "leaks": ("check_leaks",),
    "manifest": (
        "MANIFEST",
        "Manifest",
        "ShardInfo",
        "label_matrix",
        "read_manifest",
        "write_manifest",
    ),
    "options": ("ShardOptions",),
    "report": ("Report",),
    "sources": ("SourceTable",),
    "sources.chexpert": ("read_chexpert",),
    "sources.cxr_lt_2026": ("read_cxr_lt_2026",),
    "sources.detect": ("detect_layout",),
    "sources.dicom": ("read_dicom",),
    "sources.mimic": ("read_mimic",),
    "sources.nih": ("read_nih",),
    "sources.padchest": ("read_padchest",),
    "sources.table": ("read_table",),
    "sources.table_columns": ("TableColumns",),
    "split": ("SPLITS",),
    "store": ("LocalStore",),
    "tar": (
        "TarError",
        "TarMember",
        "walk",
    ),
    "verify": (
        "VerifyReport",
        "verify_shards",
    ),
    "views": (
        "VIEWS",
        "view_of",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
