"""Small pictures and tables that the tests of shards/ are run on."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_engine.shards.class_lists import (
    CHEXPERT,
    CXR_LT_2023,
    CXR_LT_2024_TASK1,
    CXR_LT_2024_TASK2,
    CXR_LT_2024_TASK3,
    CXR_LT_2026,
)
from cxr_engine.shards.sources import SourceTable
from cxr_engine.shards.sources.table import read_table

FINDINGS = ("Mass", "Edema")


def draw(seed: int, height: int = 40, width: int = 48) -> Image.Image:
    """A smooth gray picture, another one for each seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4), np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


@dataclass(frozen=True, slots=True)
class Tree:
    """A CSV file beside a folder of images; rows may be edited before they are written."""

    folder: Path
    rows: list[dict[str, str]]

    @property
    def csv(self) -> Path:
        return self.folder / "labels.csv"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def write(self) -> Tree:
        with self.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        return self

    def read(self) -> SourceTable:
        return read_table(self.csv, self.images)


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[..., Tree]:
    """Patients with two studies each, a study with a frontal and a lateral view."""

    def make(n_patients: int = 4, name: str = "tree") -> Tree:
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        rows = []
        for number in range(4 * n_patients):
            patient, study, view = number // 4, number // 2, ("PA", "LATERAL")[number % 2]
            image = f"p{patient}_s{study}_{view}.png"
            draw(number).save(folder / "images" / image)
            mass, edema = ("1", "0")[study % 2], ("0", "1.0", "", "-1")[study % 4]
            rows.append(
                {"image": image, "patient": f"p{patient}", "study": f"s{study}", "view": view}
                | dict(zip(FINDINGS, (mass, edema), strict=True))
            )
        return Tree(folder, rows).write()

    return make


# Six images of MIMIC: subject, study, dicom id, view position.
MIMIC = (
    ("10000032", "50414267", "02aa804e-bde0afdd-112c0b34-7bc16630-4e384014", "PA"),
    ("10000032", "50414267", "174413ec-4ec4c1f7-34ea26b7-c5f994f8-79ef1962", "LATERAL"),
    ("10000032", "53189527", "2a2277a9-b0ded155-c0de8eb9-c124d10e-82c5caab", ""),
    ("10000764", "57375967", "096052b7-d256dc40-453a102b-fa7d01c6-1b22c6b4", "AP"),
    ("11000183", "51967845", "68b5c4b1-227d0485-9cc38c3f-7b84ab51-4b472714", "PA LLD"),
    ("19999287", "55368167", "8352c1e5-9b2c1d48-2d4a4f1e-15b0d5a1-5a3f3b52", "LL"),
)
# Study: what CheXpert's labeller wrote. Blank stands for "not mentioned".
MIMIC_CHEXPERT = {
    "50414267": {"No Finding": "1.0"},
    "53189527": {"Edema": "1.0", "Pneumonia": "-1.0", "Support Devices": "1.0"},
    "57375967": {"Support Devices": "1.0"},
    "51967845": {"Pneumonia": "-1.0", "Pleural Effusion": "0.0"},
}


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    text = file.getvalue().encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def _write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(seed).save(path)


def _cxr_lt(
    path_column: str, rows: tuple[int, ...], classes: tuple[str, ...]
) -> list[dict[str, str]]:
    """Rows of a CXR-LT table; image n is positive for class n and class n + 1."""
    return [
        {
            "dicom_id": MIMIC[n][2],
            "subject_id": MIMIC[n][0],
            "study_id": "s" + MIMIC[n][1],
            "ViewPosition": MIMIC[n][3],
            path_column: "files/p{}/p{}/s{}/{}.jpg".format(MIMIC[n][0][:2], *MIMIC[n]),
            **{name: str(int(i in (n, n + 1))) for i, name in enumerate(classes)},
        }
        for n in rows
    ]


def write_mimic(folder: Path) -> None:
    """MIMIC-CXR-JPG 2.1 with `cxr-lt-2023` and `cxr-lt-2024` beside `files`."""
    metadata = [
        {"dicom_id": dicom, "subject_id": subject, "study_id": study}
        | {"PerformedProcedureStepDescription": "CHEST (PA AND LAT)", "ViewPosition": position}
        | {"Rows": "3056", "Columns": "2544", "StudyDate": "21800506", "StudyTime": "213014.531"}
        for subject, study, dicom, position in MIMIC
    ]
    write_csv(folder / "mimic-cxr-2.0.0-metadata.csv.gz", metadata)
    words = ("train", "train", "train", "validate", "test", "train")
    splits = [
        {"dicom_id": row[2], "study_id": row[1], "subject_id": row[0], "split": word}
        for row, word in zip(MIMIC, words, strict=True)
    ]
    write_csv(folder / "mimic-cxr-2.0.0-split.csv.gz", splits)
    subjects = {study: subject for subject, study, _, _ in MIMIC}
    studies = [
        {"subject_id": subjects[study], "study_id": study}
        | {name: findings.get(name, "") for name in CHEXPERT}
        for study, findings in MIMIC_CHEXPERT.items()
    ]
    write_csv(folder / "mimic-cxr-2.0.0-chexpert.csv.gz", studies)
    for kit, stem in (("cxr-lt-2023", "{}.csv"), ("cxr-lt-2024", "{}_labeled_task1.csv")):
        path_column = "path" if kit == "cxr-lt-2023" else "fpath"
        classes = CXR_LT_2023 if kit == "cxr-lt-2023" else CXR_LT_2024_TASK1
        train = stem.format("train").replace("_task1", "")
        write_csv(folder / kit / train, _cxr_lt(path_column, (0, 1, 2), classes))
        write_csv(folder / kit / stem.format("development"), _cxr_lt(path_column, (3,), classes))
        write_csv(folder / kit / stem.format("test"), _cxr_lt(path_column, (4,), classes))
    kit = folder / "cxr-lt-2024"
    write_csv(kit / "test_labeled_task2.csv", _cxr_lt("fpath", (4,), CXR_LT_2024_TASK2))
    write_csv(kit / "development_labeled_task3.csv", _cxr_lt("fpath", (3,), CXR_LT_2024_TASK3))
    for seed, (subject, study, dicom, _) in enumerate(MIMIC):
        tree = folder / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}"
        _write_image(tree / f"{dicom}.jpg", seed)


# Image, its folder, study, patient, projection, bits, labels.
PADCHEST = (
    ("1_aaa.png", "0", "1", "P1", "PA", "12", "['normal']"),
    ("1_bbb.png", "0", "1", "P1", "L", "12", "['normal']"),
    ("2_ccc.png", "13", "2", "P1", "AP_horizontal", "15", "['pleural effusion', ' nodule ', '']"),
    ("3_ddd.png", "13", "3", "P2", "COSTAL", "", "['exclude']"),
    ("4_eee.png", "54", "4", "P3", "EXCLUDE", "14.0", "['unchanged', 'nodule']"),
    ("5_fff.png", "54", "5", "P4", "PA", "10", ""),
)


def write_padchest(folder: Path) -> None:
    """PadChest with the folders of its zip files and an index column without a name."""
    rows = [
        {"": str(n), "ImageID": image, "ImageDir": home, "StudyDate_DICOM": "20140915"}
        | {"StudyID": study, "PatientID": patient, "Projection": projection}
        | {"MethodProjection": "Manual review of DICOM fields", "Report": "sin hallazgos, tórax"}
        | {"PhotometricInterpretation_DICOM": "MONOCHROME2", "BitsStored_DICOM": bits}
        | {"MethodLabel": "Physician", "Labels": labels}
        for n, (image, home, study, patient, projection, bits, labels) in enumerate(PADCHEST)
    ]
    write_csv(folder / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", rows)
    for seed, (image, home, *_) in enumerate(PADCHEST):
        path = folder / home / image
        path.parent.mkdir(parents=True, exist_ok=True)
        plane = np.asarray(draw(seed), np.uint16) * 16
        Image.fromarray(plane).save(path)


def write_cxr_lt_2026(folder: Path) -> None:
    """The same images; ids as the spreadsheet left them, the last label's name as it was shipped."""
    ruined = {"P1": "1.90E+38", "P2": "1.90E+38", "P3": "3.70E+37", "P4": "1E+38"}
    columns = [name + ("\t" if name == "calcified densities" else "") for name in CXR_LT_2026]
    rows = [
        {"ImageID": image, "StudyDate_DICOM": "20140915", "PatientID": ruined[patient]}
        | {name: str(int(i == n)) for i, name in enumerate(columns)}
        for n, (image, _, _, patient, *_) in enumerate(PADCHEST)
    ]
    write_csv(folder / "CXRLT_2026_training.csv", rows)
    removal = [
        {k: row[k] for k in ("ImageID", "StudyDate_DICOM", "PatientID")} for row in rows[3:4]
    ]
    removal.append({"ImageID": "9_zzz.png", "StudyDate_DICOM": "", "PatientID": "1.90E+38"})
    write_csv(folder / "Removal.csv", removal)
    for seed, (image, *_) in enumerate(PADCHEST):
        _write_image(folder / image, seed)


# Path below the folder, Frontal/Lateral, AP/PA, labels that are not blank.
CHEXPERT_TRAIN = (
    ("train/patient00001/study1/view1_frontal.jpg", "Frontal", "AP", {"No Finding": "1.0"}),
    ("train/patient00002/study1/view1_frontal.jpg", "Frontal", "PA", {"Edema": "-1.0"}),
    ("train/patient00002/study1/view2_lateral.jpg", "Lateral", "", {"Edema": "-1.0"}),
    ("train/patient00002/study2/view1_frontal.jpg", "Frontal", "LL", {"Support Devices": "1.0"}),
)
CHEXPERT_VALID = (
    ("valid/patient64541/study1/view1_frontal.jpg", "Frontal", "AP",
     dict.fromkeys(CHEXPERT, "0.0") | {"Fracture": "1.0"}),
)  # fmt: skip


def write_chexpert(folder: Path) -> None:
    """CheXpert-v1.0-small under another folder's name."""
    seed = 0
    for name, images in (("train.csv", CHEXPERT_TRAIN), ("valid.csv", CHEXPERT_VALID)):
        rows = []
        for path, side, position, labels in images:
            rows.append(
                {"Path": f"CheXpert-v1.0-small/{path}", "Sex": "Female", "Age": "68"}
                | {"Frontal/Lateral": side, "AP/PA": position}
                | {finding: labels.get(finding, "") for finding in CHEXPERT}
            )
            _write_image(folder / path, seed)
            seed += 1
        write_csv(folder / name, rows)


@pytest.fixture
def make_download(tmp_path: Path) -> Callable[[str], Path]:
    """Small public data sets, as they come: mimic, padchest, cxr-lt-2026, chexpert."""
    writers = {
        "mimic": write_mimic,
        "padchest": write_padchest,
        "cxr-lt-2026": write_cxr_lt_2026,
        "chexpert": write_chexpert,
    }

    def make(name: str, into: str | None = None) -> Path:
        folder = tmp_path / (into or name)
        folder.mkdir(exist_ok=True)
        writers[name](folder)
        return folder

    return make
