"""Storage: source files -> tars and manifest -> bytes.

The names below load on first use: a program that only wants the errors, such as
`cxr-engine --help`, does not pay for polars and pyarrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxr_engine.shards.build import ShardOptions, build_shards
    from cxr_engine.shards.errors import DataError, IntegrityError, ResourceError, UsageError
    from cxr_engine.shards.findings import (
        LABEL_PREFIX,
        NEGATIVE,
        POSITIVE,
        UNKNOWN,
        class_hash,
    )
    from cxr_engine.shards.manifest import (
        MANIFEST,
        Manifest,
        ShardInfo,
        label_matrix,
        read_manifest,
        write_manifest,
    )
    from cxr_engine.shards.report import Report
    from cxr_engine.shards.sources import SourceTable
    from cxr_engine.shards.sources.nih import read_nih
    from cxr_engine.shards.sources.table import TableColumns, read_table
    from cxr_engine.shards.split import SPLITS
    from cxr_engine.shards.store import LocalStore
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
    "IntegrityError",
    "LocalStore",
    "Manifest",
    "Report",
    "ResourceError",
    "ShardInfo",
    "ShardOptions",
    "SourceTable",
    "TableColumns",
    "UsageError",
    "build_shards",
    "class_hash",
    "label_matrix",
    "read_manifest",
    "read_nih",
    "read_table",
    "view_of",
    "write_manifest",
]

_HOMES = {
    "build": ("ShardOptions", "build_shards"),
    "errors": ("DataError", "IntegrityError", "ResourceError", "UsageError"),
    "findings": ("LABEL_PREFIX", "NEGATIVE", "POSITIVE", "UNKNOWN", "class_hash"),
    "manifest": (
        "MANIFEST",
        "Manifest",
        "ShardInfo",
        "label_matrix",
        "read_manifest",
        "write_manifest",
    ),
    "report": ("Report",),
    "sources": ("SourceTable",),
    "sources.nih": ("read_nih",),
    "sources.table": ("TableColumns", "read_table"),
    "split": ("SPLITS",),
    "store": ("LocalStore",),
    "views": ("VIEWS", "view_of"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
