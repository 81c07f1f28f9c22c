"""Rows from a folder of DICOM files: joined to labels, and nothing else of the header gets out."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr_engine.shards.build import build_shards
from cxr_engine.shards.errors import DataError, ThreeLineError, UsageError
from cxr_engine.shards.findings import LabelPolicy
from cxr_engine.shards.manifest import read_manifest
from cxr_engine.shards.options import ShardOptions
from cxr_engine.shards.sources import SourceTable
from cxr_engine.shards.sources.dicom import detect, read_dicom

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")

# Planted where a header may name a person, in every text VR and in a private tag.
SECRETS = ("DOE^JANE", "19500101", "Dr^House", "Mercy Hospital", "Elm Street 7", "ACC-777", "LO-9")
KEY = b"sixteen bytes at least"


def write_dicom(path: Path, number: int, patient: str, **tags: Any) -> str:
    """A picture of 12 bits; returns its SOPInstanceUID."""
    uid = f"1.2.840.{number}"
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = uid
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    pixels = np.random.default_rng(number).integers(0, 4096, (5, 5)).repeat(4, 0).repeat(4, 1)
    facts = {
        "SOPClassUID": meta.MediaStorageSOPClassUID, "SOPInstanceUID": uid, "PatientID": patient,
        "StudyInstanceUID": f"1.9.{patient[-1]}", "Modality": "DX", "ViewPosition": "PA",
        "PatientName": SECRETS[0], "PatientBirthDate": SECRETS[1],
        "ReferringPhysicianName": SECRETS[2], "InstitutionName": SECRETS[3],
        "PatientAddress": SECRETS[4], "AccessionNumber": SECRETS[5],
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16,
        "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, "Rows": 20, "Columns": 20,
        "PixelData": pixels.astype(np.uint16).tobytes(),
    } | tags  # fmt: skip
    for name, value in facts.items():
        setattr(dataset, name, value)
    dataset["PixelData"].VR = "OW"
    dataset.add_new(0x00091001, "LO", SECRETS[6])
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return uid


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two patients with three images each, in folders, one without the usual suffix."""
    root = tmp_path / "dicom"
    for number in range(6):
        name = f"p{number // 3}/{number}" + (".dcm" if number else "")
        view = {"ViewPosition": "LL"} if number % 3 == 2 else {}
        write_dicom(root / name, number, f"patient-{number // 3}", **view)
    (root / "README.txt").write_text("not a picture")
    return root


@pytest.fixture
def labels(tmp_path: Path) -> Callable[..., Path]:
    def write(rows: list[str], header: str = "SOPInstanceUID,Mass,Edema") -> Path:
        path = tmp_path / "labels.csv"
        path.write_text("\n".join([header, *rows]) + "\n")
        return path

    return write


def by_uid() -> list[str]:
    return [f"1.2.840.{number},{number % 2},{'' if number == 3 else 1}" for number in range(6)]


def test_rows_are_joined_by_uid(folder: Path, labels: Callable[..., Path]) -> None:
    table = read_dicom(folder, labels(by_uid()))
    frame = table.frame
    assert frame["source"].to_list() == [f"1.2.840.{number}" for number in range(6)]
    assert frame["patient"].to_list() == ["patient-0"] * 3 + ["patient-1"] * 3
    assert frame["study"].to_list() == ["1.9.0"] * 3 + ["1.9.1"] * 3
    assert frame["view"].to_list() == ["frontal", "frontal", "lateral"] * 2
    assert frame["bits_stored"].to_list() == [12] * 6
    assert frame["label:Edema"].to_list() == [1, 1, 1, None, 1, 1]
    assert table.class_names == ("Mass", "Edema")
    assert Path(frame["path"][0]) == folder / "p0" / "0"


@pytest.mark.parametrize("cells", [["p0/0", "p1/4.dcm"], ["0", "4.dcm"], ["0", "4"]])
def test_rows_are_joined_by_file(
    folder: Path, labels: Callable[..., Path], cells: list[str]
) -> None:
    table = read_dicom(folder, labels([f"{cell},1,0" for cell in cells], "file,Mass,Edema"))
    assert table.frame["source"].to_list() == ["1.2.840.0", "1.2.840.4"]
    assert "4 of 6 DICOM files have no row in the label table" in table.notes


def test_rows_without_a_file_are_missing(folder: Path, labels: Callable[..., Path]) -> None:
    table = read_dicom(folder, labels([*by_uid(), "1.2.3,0,1", "README.txt,0,1"]))
    assert [Path(path).exists() for path in table.frame["path"]] == [True] * 6 + [False] * 2


def test_labels_are_needed_and_said_so(folder: Path, labels: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="needs classes"):
        read_dicom(folder, None)
    with pytest.raises(UsageError, match="no column names the images"):
        read_dicom(folder, labels(["1,0"], "who,Mass"))
    with pytest.raises(DataError, match="no row fits any of 6"):
        read_dicom(folder, labels(["1.2.3,0,1"]))


def test_a_name_that_fits_two_files_is_refused(folder: Path, labels: Callable[..., Path]) -> None:
    write_dicom(folder / "p9" / "4.dcm", 44, "patient-9")
    path = labels(["4.dcm,0,1"], "file,Mass,Edema")
    with pytest.raises(DataError, match="2 files fit the row") as caught:
        read_dicom(folder, path)
    assert "line 2" in caught.value.where


def test_a_file_without_patient_is_refused_by_its_row(
    folder: Path, labels: Callable[..., Path]
) -> None:
    write_dicom(folder / "p0" / "1.dcm", 1, "patient-0", PatientID="")
    with pytest.raises(DataError, match="no PatientID") as caught:
        read_dicom(folder, labels(by_uid()))
    assert "line 3" in caught.value.where


def test_the_policy_decides_about_uncertain_labels(
    folder: Path, labels: Callable[..., Path]
) -> None:
    rows = ["1.2.840.0,-1,", "1.2.840.1,0,1"]
    policy = LabelPolicy(uncertain="positive", blank="negative")
    assert read_dicom(folder, labels(rows), policy).frame["label:Mass"].to_list() == [1, 0]
    table = read_dicom(folder, labels(rows), LabelPolicy(uncertain="drop"))
    assert (table.frame.height, [row.reason for row in table.dropped]) == (1, ["uncertain"])


def test_a_key_replaces_ids_and_keeps_who_belongs_together(
    folder: Path, labels: Callable[..., Path]
) -> None:
    plain = read_dicom(folder, labels(by_uid())).frame
    frame = read_dicom(folder, labels(by_uid()), key=KEY).frame
    for column in ("source", "patient", "study"):
        assert not set(frame[column]) & set(plain[column])
        pairs = {*zip(frame[column], plain[column], strict=True)}
        assert len(pairs) == frame[column].n_unique() == plain[column].n_unique()
    other = read_dicom(folder, labels(by_uid()), key=b"another key of sixteen bytes").frame
    assert not set(frame["patient"]) & set(other["patient"])
    with pytest.raises(UsageError, match="a key of 3 bytes"):
        read_dicom(folder, labels(by_uid()), key=b"abc")


def test_other_dicom_files_are_noted(folder: Path, labels: Callable[..., Path]) -> None:
    path = folder / "p0" / "1.dcm"
    write_dicom(path, 1, "patient-0", Modality="CT")
    (folder / "damaged").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    notes = " ".join(read_dicom(folder, labels(by_uid())).notes)
    assert "no radiographs: CT (1)" in notes
    assert "1 files have a damaged header" in notes or "1 DICOM files hold no picture" in notes


def test_a_folder_is_known_by_content(folder: Path, tmp_path: Path) -> None:
    assert detect(folder) == "p0/0"
    (tmp_path / "empty").mkdir()
    assert detect(tmp_path / "empty") is None


def everything_in(out: Path) -> bytes:
    """All bytes of a data set, tars and Parquet also as they read."""
    parts = [path.read_bytes() for path in out.iterdir()]
    for path in out.glob("*.tar"):
        with tarfile.open(path) as tar:
            parts += [tar.extractfile(info).read() for info in tar]
    manifest = read_manifest(out)
    return b"".join([*parts, repr(manifest.frame.rows()).encode(), repr(manifest).encode()])


def said(table: SourceTable) -> bytes:
    return repr((table.notes, table.dropped, table.frame.drop("path").rows())).encode()


def test_planted_names_and_dates_reach_no_output(
    folder: Path,
    labels: Callable[..., Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = read_dicom(folder, labels(by_uid()), key=KEY)
    options = ShardOptions(size=16, jobs=1, window="dicom", allow_empty_val=True)
    build_shards(table, tmp_path / "out", options)
    talk = "".join(capfd.readouterr()) + caplog.text
    found = everything_in(tmp_path / "out") + said(table) + talk.encode()
    hidden = [*SECRETS, "patient-0", "patient-1", "1.2.840.", "1.9."]
    assert not [secret for secret in hidden if secret.encode() in found]


def test_planted_names_reach_no_error_of_damaged_headers(
    folder: Path,
    labels: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    rng = np.random.default_rng(0)
    path = folder / "p0" / "1.dcm"
    good = path.read_bytes()
    errors = io.StringIO()
    for _ in range(300):
        data = bytearray(good)
        for place in rng.integers(132, len(data) - 800, 5):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        with contextlib.suppress(ThreeLineError):
            try:
                table = read_dicom(folder, labels(by_uid()), key=KEY)
                errors.write(said(table).decode())
            except ThreeLineError as error:
                errors.write(str(error))
                raise
    talk = errors.getvalue() + "".join(capfd.readouterr()) + caplog.text
    assert not [secret for secret in SECRETS if secret in talk]
