"""What is decoded and how it is handed out: one frozen model for library users and recipes alike."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cxr_engine.engine.augment import PRESETS, Augment
from cxr_engine.engine.folds import Folds

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Sampling(BaseModel):
    """How often a sample appears in an epoch; nothing is duplicated on disk.

    With `oversample`, samples positive for a listed class appear `factor` times: once per sample
    whatever the number of listed positives (`any`), or `factor - 1` times more for each (`per_label`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    oversample: tuple[str, ...] = ()  # class names
    factor: int = Field(default=2, ge=1, le=100)
    mode: Literal["any", "per_label"] = "any"


class LoaderConfig(BaseModel):
    """One stream: which split, which pixels, in which order.

    `mean` and `std` are on the 0–1 scale and have one value per channel; None means ImageNet's for three
    channels and their average for one. `augment` is a preset's name or an Augment. `shuffle=None`
    shuffles the train split only. `threads=None` takes the processors this process may use.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Literal["train", "val", "test", "dev"] = "train"
    folds: Folds | None = None  # None keeps the manifest's train and val
    image_size: int = Field(default=384, ge=8, le=4096)  # pixels, square
    global_batch_size: int = Field(default=80, ge=1)  # samples over all ranks
    channels: Literal[1, 3] = 3
    dtype: Literal["float32", "float16"] = "float32"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    augment: Augment | str = "none"
    sampling: Sampling = Sampling()
    shuffle: bool | None = None
    drop_last: bool = False  # drop the incomplete last batch instead of padding it
    seed: int = Field(default=0, ge=0, lt=2**63)
    on_bad: Literal["fail", "substitute", "invalidate"] = "fail"
    bad_budget: int = Field(default=0, ge=0)  # bad samples tolerated before the stream fails
    threads: int | None = Field(default=None, ge=1)
    read_ahead: int = Field(default=4, ge=1)  # batches whose bytes are fetched early

    @model_validator(mode="after")
    def _consistent(self) -> LoaderConfig:
        if isinstance(self.augment, str) and self.augment not in PRESETS:
            raise ValueError(f"augment {self.augment!r} is none of the presets {sorted(PRESETS)}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.channels:
                raise ValueError(f"{name} has {len(values)} values for {self.channels} channels")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        return self

    @property
    def augmentation(self) -> Augment:
        """The augmentation itself, whether given by name or in full."""
        return PRESETS[self.augment] if isinstance(self.augment, str) else self.augment

    @property
    def shuffled(self) -> bool:
        return self.split == "train" if self.shuffle is None else self.shuffle

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per channel on the 0–1 scale."""
        return (
            self.mean or _per_channel(IMAGENET_MEAN, self.channels),
            self.std or _per_channel(IMAGENET_STD, self.channels),
        )


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values if channels == 3 else (sum(values) / 3,)
