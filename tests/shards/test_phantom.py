"""Drawn chest X-rays: who has what, what is drawn, where it is, and what is written."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.phantom import (
    FINDINGS,
    PhantomView,
    boxes,
    draw_patients,
    render,
    write_phantoms,
)

DRAWN = [name for name in FINDINGS if name != "Normal"]


def view_of(patient: int, view: str = "frontal", findings: tuple[str, ...] = ()) -> PhantomView:
    position = "PA" if view == "frontal" else "LATERAL"
    return PhantomView(
        patient=f"p{patient}",
        study=f"s{patient}",
        view=view,
        view_position=position,
        findings=findings,
        seed=3,
    )


def positive_studies(views: list[PhantomView]) -> dict[str, set[str]]:
    return {name: {v.study for v in views if name in v.findings} for name in FINDINGS}


@pytest.mark.parametrize("n_images", [1, 2, 37, 500])
def test_exactly_as_many_views_as_asked(n_images: int) -> None:
    assert len(draw_patients(n_images, seed=1)) == n_images


def test_same_seed_same_patients_and_another_seed_others() -> None:
    assert draw_patients(200, seed=5) == draw_patients(200, seed=5)
    first, second = ([replace(v, seed=0) for v in draw_patients(200, seed=seed)] for seed in (5, 6))
    assert first != second


def test_studies_belong_to_one_patient_and_their_views_share_the_findings() -> None:
    views = draw_patients(1000, seed=0)
    of_study: dict[str, list[PhantomView]] = {}
    for view in views:
        of_study.setdefault(view.study, []).append(view)
    for study in of_study.values():
        assert len({(v.patient, v.findings) for v in study}) == 1
        assert len({v.view for v in study}) == len(study) <= 2
    both = sum(len(study) == 2 for study in of_study.values())
    assert 0.5 < both / len(of_study) < 0.7
    studies_of_patient = np.unique([s[0].patient for s in of_study.values()], return_counts=True)[1]
    assert studies_of_patient.min() == 1
    assert studies_of_patient.max() == 4
    assert [v.study for v in views] == sorted(v.study for v in views)


@pytest.mark.parametrize("seed", range(4))
def test_the_tail_is_long_and_every_class_can_be_validated(seed: int) -> None:
    views = draw_patients(2000, seed)
    positives = positive_studies(views)
    shares = {name: len(p) / len({v.study for v in views}) for name, p in positives.items()}
    assert sum(share > 0.10 for share in shares.values()) >= 4
    assert sum(0.02 <= share <= 0.10 for share in shares.values()) >= 4
    tail = [name for name, share in shares.items() if share < 0.02]
    assert len(tail) >= 3
    for name in tail:
        patients = {v.patient for v in views if name in v.findings}
        assert len(patients) == len(positives[name]) >= 12


def test_normal_means_nothing_but_devices() -> None:
    views = draw_patients(800, seed=2)
    for view in views:
        assert ("Normal" in view.findings) == (
            not set(view.findings) - {"Normal", "Support Devices"}
        )
    assert any(set(view.findings) == {"Normal", "Support Devices"} for view in views)


def test_effusion_comes_with_edema_more_often_than_without() -> None:
    positives = positive_studies(draw_patients(2000, seed=0))
    n_studies = len({v.study for v in draw_patients(2000, seed=0)})
    edema, effusion = positives["Edema"], positives["Pleural Effusion"]
    with_edema = len(edema & effusion) / len(edema)
    without = len(effusion - edema) / (n_studies - len(edema))
    assert with_edema > 1.5 * without


def test_small_sets_have_every_class() -> None:
    assert all(positive_studies(draw_patients(64, seed=0)).values())


@pytest.mark.parametrize("view", ["frontal", "lateral"])
def test_a_picture_depends_on_view_and_size_only(view: str) -> None:
    phantom = view_of(1, view, ("Edema", "Mass", "Support Devices"))
    picture = render(phantom, 96)
    assert picture.shape == (96, 96)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, render(phantom, 96))
    for other in (replace(phantom, seed=4), replace(phantom, patient="p2"), view_of(2, view)):
        assert np.abs(picture.astype(int) - render(other, 96)).mean() > 2


@pytest.mark.parametrize("view", ["frontal", "lateral"])
def test_sizes_show_the_same_scene(view: str) -> None:
    phantom = view_of(5, view, ("Consolidation", "Pleural Effusion"))
    small = render(phantom, 128).astype(float)
    large = np.asarray(Image.fromarray(render(phantom, 384)).reduce(3), float)
    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.99


def test_the_lungs_are_dark_between_a_bright_middle_and_a_bright_belly() -> None:
    for patient in range(8):
        picture = render(view_of(patient), 100).astype(float)
        lungs = np.concatenate([picture[35:50, 22:36], picture[35:50, 64:78]]).mean()
        assert lungs + 40 < picture[35:50, 46:52].mean()
        assert lungs + 40 < picture[85:95, 30:70].mean()


@pytest.mark.parametrize("view", ["frontal", "lateral"])
@pytest.mark.parametrize("finding", DRAWN)
def test_a_finding_changes_the_picture_inside_its_boxes_and_hardly_outside(
    finding: str, view: str
) -> None:
    for patient in range(6):
        healthy, ill = view_of(patient, view), view_of(patient, view, (finding,))
        change = np.abs(render(ill, 128).astype(int) - render(healthy, 128))
        found = boxes(ill, 128)
        assert set(found) == {finding}
        inside = np.zeros((128, 128), bool)
        for x0, y0, x1, y1 in found[finding]:
            assert 0 <= x0 < x1 <= 128
            assert 0 <= y0 < y1 <= 128
            inside[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = True
        assert change[inside].max() > 15
        assert change[inside].sum() > 0.95 * change.sum()


def test_boxes_scale_with_the_picture() -> None:
    ill = view_of(0, "frontal", ("Mass",))
    for small, large in zip(boxes(ill, 128)["Mass"], boxes(ill, 512)["Mass"], strict=True):
        np.testing.assert_allclose(np.array(small) * 4, large, atol=4)


def test_every_view_of_a_data_set_can_be_drawn_and_boxed() -> None:
    for view in draw_patients(120, seed=9):
        assert render(view, 48).std() > 20
        assert set(boxes(view, 48)) == set(view.findings) - {"Normal"}


def test_unknown_and_contradicting_descriptions_are_refused() -> None:
    with pytest.raises(ValueError, match="Mas"):
        view_of(0, "frontal", ("Mas",))
    with pytest.raises(ValueError, match="contradict"):
        view_of(0, "frontal", ("Mass", "Normal"))
    with pytest.raises(ValueError, match="LATERAL"):
        replace(view_of(0), view_position="LATERAL")
    with pytest.raises(ValueError, match="at least 1"):
        draw_patients(0, seed=0)
    with pytest.raises(ValueError, match="at least 16"):
        render(view_of(0), 8)


def test_written_pictures_and_table_agree(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = write_phantoms(
        tmp_path / "a", 12, seed=1, size=64, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(i, 12) for i in range(1, 13)]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "patient", "study", "view", *FINDINGS]
    assert {row["image"] for row in rows} == {p.name for p in (tmp_path / "a" / "images").iterdir()}
    for row, view in zip(rows, draw_patients(12, seed=1), strict=True):
        assert (row["patient"], row["study"], row["view"]) == (
            view.patient,
            view.study,
            view.view_position,
        )
        assert row["image"] == f"{view.patient}_{view.study}_{view.view}.jpg"
        assert {name for name in FINDINGS if row[name] == "1"} == set(view.findings)
        assert {row[name] for name in FINDINGS} <= {"0", "1"}
        with Image.open(tmp_path / "a" / "images" / row["image"]) as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "L", (64, 64))
            written = np.asarray(picture, int)
        assert np.abs(written - render(view, 64)).mean() < 4


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write_phantoms(tmp_path / name, 6, seed=1, size=48) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    for image in first.parent.joinpath("images").iterdir():
        assert image.read_bytes() == (second.parent / "images" / image.name).read_bytes()


def test_a_folder_with_content_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        write_phantoms(tmp_path, 2, seed=0, size=48)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
