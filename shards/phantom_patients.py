"""Who has what among the phantoms: patients, their studies, the views of each, and the findings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Share of studies, in the order in which they are drawn: a later one looks at earlier ones.
_SHARES = {
    "Cardiomegaly": 0.22,
    "Edema": 0.12,
    "Pleural Effusion": 0.22,
    "Atelectasis": 0.18,
    "Consolidation": 0.08,
    "Pneumothorax": 0.06,
    "Emphysema": 0.05,
    "Mass": 0.035,
    "Nodule": 0.05,
    "Support Devices": 0.28,
    "Hernia": 0.018,
    "Pneumoperitoneum": 0.018,
    "Subcutaneous Emphysema": 0.018,
}
# How many times likelier a finding is where another one is, or where the picture was taken in bed.
_RAISED_BY = {
    "Edema": {"Cardiomegaly": 5.0, "AP": 2.0},
    "Pleural Effusion": {"Cardiomegaly": 2.0, "Edema": 4.0, "AP": 1.5},
    "Atelectasis": {"Pleural Effusion": 2.5, "AP": 1.5},
    "Consolidation": {"Pleural Effusion": 2.0},
    "Nodule": {"Mass": 3.0},
    "Support Devices": {"Edema": 3.0, "Pneumothorax": 3.0, "AP": 4.0},
    "Subcutaneous Emphysema": {"Pneumothorax": 6.0},
}
_RARE = 0.02
_HARMLESS = {"Normal", "Support Devices"}
FINDINGS: tuple[str, ...] = tuple(sorted((*_SHARES, "Normal")))
Positions = tuple[str, ...]

_POSITIONS_OF_STUDY: tuple[Positions, ...] = (("PA", "LATERAL"), ("AP",), ("PA",), ("LATERAL",))
_POSITIONS_OF_VIEW: dict[str, Positions] = {"frontal": ("PA", "AP"), "lateral": ("LATERAL",)}


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomView:
    """One picture to draw."""

    patient: str
    study: str
    view: str  # frontal | lateral
    view_position: str  # PA | AP | LATERAL
    findings: tuple[str, ...]  # of the study; "Normal" stands alone or with "Support Devices"
    seed: int  # of the data set

    def __post_init__(self) -> None:
        if self.view_position not in _POSITIONS_OF_VIEW.get(self.view, ()):
            raise ValueError(
                f"view {self.view!r} in position {self.view_position!r}: "
                "give frontal in PA or AP, or lateral in LATERAL"
            )
        unknown = sorted(set(self.findings).difference(FINDINGS))
        if unknown:
            raise ValueError(f"unknown findings {unknown}; known are {', '.join(FINDINGS)}")
        if "Normal" in self.findings and not _HARMLESS.issuperset(self.findings):
            raise ValueError(f"findings {self.findings} contradict each other: leave out Normal")


def draw_patients(n_images: int, seed: int) -> list[PhantomView]:
    """Exactly n_images views of patients with one to four studies, those of a study adjacent.

    Three in five studies have both views, a few a lateral one only. Each finding gets its share of
    the studies, and at least one, whatever the seed. The rarest get different patients for their
    studies, 20 or more in 2,000 images: a validation split of a fifth of the patients misses a
    given one of them less than once in a hundred times.
    """
    if n_images < 1:
        raise ValueError(f"n_images must be at least 1, got {n_images}")
    rng = np.random.default_rng([seed, n_images])
    owners, positions = _draw_studies(n_images, rng)
    in_bed = np.array([taken == ("AP",) for taken in positions])
    present = _draw_findings(np.array(owners), in_bed, rng)
    return [
        PhantomView(
            patient=f"p{owner:05}",
            study=f"s{i + 1:05}",
            view="lateral" if position == "LATERAL" else "frontal",
            view_position=position,
            findings=tuple(name for name in FINDINGS if present[name][i]),
            seed=seed,
        )
        for i, (owner, taken) in enumerate(zip(owners, positions, strict=True))
        for position in taken
    ]


def _draw_studies(n_images: int, rng: np.random.Generator) -> tuple[list[int], list[Positions]]:
    """The patient and the view positions of each study, n_images positions in all."""
    owners: list[int] = []
    positions: list[Positions] = []
    n_left, patient = n_images, 0
    while n_left:
        patient += 1
        for _ in range(1 + int(rng.choice(4, p=(0.5, 0.27, 0.15, 0.08)))):
            owners.append(patient)
            taken = _POSITIONS_OF_STUDY[int(rng.choice(4, p=(0.6, 0.25, 0.12, 0.03)))][:n_left]
            positions.append(taken)
            n_left -= len(taken)
            if not n_left:
                break
    return owners, positions


def _draw_findings(
    owners: NDArray[np.int64], in_bed: NDArray[np.bool_], rng: np.random.Generator
) -> dict[str, NDArray[np.bool_]]:
    """(S,) bool per finding: which studies show it."""
    n_studies = len(owners)
    is_first = np.diff(owners, prepend=0) > 0
    present = {"AP": in_bed}
    for name, share in _SHARES.items():
        # Studies of one patient resemble each other; rare findings go to different patients.
        of_patient = rng.lognormal(0, 0.8, owners[-1] + 1)[owners]
        weights = of_patient if share >= _RARE else is_first.astype(float)
        for other, factor in _RAISED_BY.get(name, {}).items():
            weights = np.where(present[other], factor * weights, weights)
        arrival = rng.exponential(size=n_studies) / np.maximum(weights, 1e-9)
        present[name] = np.zeros(n_studies, bool)
        present[name][np.argsort(arrival)[: max(1, round(share * n_studies))]] = True
    ill = [present[name] for name in _SHARES if name not in _HARMLESS]
    present["Normal"] = ~np.any(ill, axis=0)
    return present
