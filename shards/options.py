"""What a run of `shard` may be told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.fit import Fit
from cxr_engine.shards.image import Encoding, ImageOptions

# What decides which rows and checks pass, not what is written of a row.
_NOT_RECORDED = (
    "jobs", "allow_missing", "allow_duplicates", "allow_empty_val", "audit", "against",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardOptions:
    """How images are stored, rows are split, and what is put up with."""

    size: int = 576  # pixels, square
    renditions: tuple[int, ...] = ()  # sides of smaller copies, pixels
    quality: int = 95  # JPEG, 1–100
    fit: Fit = "squash"
    window: str = "full"  # full | bits | percentile:LOW-HIGH | dicom
    encoding: Encoding = "jpeg"
    keep_original: bool = True  # the source's own bytes where they are what is asked already
    val_fraction: float = 0.2  # of the patients without an official split
    seed: int = 0
    shard_samples: int = 1000
    limit: int | None = None  # views to stop at, with the patient that reaches them
    jobs: int | None = None  # processes; None = CPUs available
    allow_missing: int | None = 0  # rows that may be missing or unreadable; None = any number
    allow_duplicates: bool = False  # identical pictures of different patients
    allow_empty_val: bool = False  # classes whose positives all fell to train
    audit: bool = False  # decode each written picture once more
    against: tuple[Path, ...] = ()  # data sets whose patients must be in the same splits

    def __post_init__(self) -> None:
        checks = {
            "size": 16 <= self.size <= 8192,
            "quality": 1 <= self.quality <= 100,
            "fit": self.fit in ("squash", "pad", "crop"),
            "encoding": self.encoding in ("jpeg", "png8", "png16"),
            "val_fraction": 0.0 <= self.val_fraction < 1.0,
            "shard_samples": 1 <= self.shard_samples <= 100_000,
            "limit": self.limit is None or self.limit >= 1,
            "jobs": self.jobs is None or self.jobs >= 1,
            "allow_missing": self.allow_missing is None or self.allow_missing >= 0,
        }
        for name, holds in checks.items():
            if not holds:
                flag = "sizes" if name == "size" else name.replace("_", "-")
                raise UsageError(
                    f"{name} cannot be {getattr(self, name)!r}",
                    f"--{flag}",
                    "see cxr-engine shard --help for what it may be",
                )
        self.image()  # refuses a wrong window or rendition before a row is read

    def image(self) -> ImageOptions:
        """What a worker needs of these."""
        return ImageOptions(
            size=self.size,
            renditions=self.renditions,
            quality=self.quality,
            fit=self.fit,
            window=self.window,
            encoding=self.encoding,
            keep_original=self.keep_original,
        )

    def recorded(self) -> dict[str, Any]:
        """What the manifest and the report keep: neither allowances nor checks, nor speed."""
        kept = {name: value for name, value in asdict(self).items() if name not in _NOT_RECORDED}
        return kept | {"renditions": list(self.renditions)}
