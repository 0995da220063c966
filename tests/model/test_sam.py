from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from maskstream.model import SAM, Prompt
from maskstream.model.checkpoint import StateDict
from maskstream.model.errors import PromptError, SinkError, SourceError, WeightsError
from maskstream.model.sam import PROMPTS_PER_CALL, SamResult
from PIL import Image

PICTURE = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory, random_state_dict: StateDict) -> SAM:
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    torch.save(random_state_dict, path)
    return SAM(path, device="cpu", size=256)


@pytest.fixture
def picture_path(tmp_path: Path) -> Path:
    Image.fromarray(PICTURE).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_a_file_an_array_and_a_pillow_image_are_the_same(sam: SAM, picture_path: Path) -> None:
    sources = [picture_path, str(picture_path), PICTURE, Image.fromarray(PICTURE)]
    results = sam.predict(sources, points=[50, 30], labels=[1])
    assert [result.path for result in results] == [picture_path, picture_path, None, None]
    for result in results:
        assert np.array_equal(result.orig_img, PICTURE)
        assert (result.masks.shape, result.masks.dtype) == ((1, 60, 100), np.bool_)
        assert (result.boxes.shape, result.scores.shape) == ((1, 4), (1,))
        assert np.array_equal(result.masks, results[0].masks)


def test_prompts_shape_the_objects(sam: SAM) -> None:
    assert len(sam(PICTURE, points=[50, 30])[0]) == 1
    assert len(sam(PICTURE, points=[[50, 30], [10, 10]], labels=[1, 1])[0]) == 2
    assert len(sam(PICTURE, points=[[[50, 30], [10, 10]]], labels=[[1, 0]])[0]) == 1
    assert len(sam(PICTURE, bboxes=[10, 10, 50, 50])[0]) == 1
    assert len(sam(PICTURE, bboxes=[[10, 10, 50, 50], [0, 0, 100, 60]])[0]) == 2
    assert len(sam(PICTURE, masks=np.ones((2, 60, 100), bool))[0]) == 2


def test_points_and_a_box_of_one_object_go_together(sam: SAM) -> None:
    both = sam(PICTURE, points=[20, 20], labels=[1], bboxes=[10, 10, 50, 50])[0]
    assert len(both) == 1
    assert both.scores != sam(PICTURE, bboxes=[10, 10, 50, 50])[0].scores


def test_of_three_candidates_the_best_is_taken(sam: SAM) -> None:
    result, prompt = sam(PICTURE, points=[50, 30], multimask_output=True)[0], Prompt(1, [[50, 30]], [1])
    prediction = sam.predictor.decode(sam.predictor.encode(PICTURE), [prompt], multimask_output=True)
    assert result.scores[0] == pytest.approx(float(prediction.predicted_iou.max()))


def test_more_prompts_than_fit_in_one_call(sam: SAM) -> None:
    xs = np.arange(PROMPTS_PER_CALL + 2)
    everything = sam(PICTURE, points=np.stack([xs, xs], axis=1))[0]
    last = sam(PICTURE, points=[[xs[-2], xs[-2]], [xs[-1], xs[-1]]])[0]
    assert len(everything) == len(everything.boxes) == len(xs)
    np.testing.assert_allclose(everything.scores[-2:], last.scores, atol=1e-5)


def test_a_photograph_is_turned_upright(sam: SAM, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    Image.fromarray(PICTURE).save(tmp_path / "phone.jpg", exif=exif)
    assert sam(tmp_path / "phone.jpg", points=[5, 90])[0].masks.shape == (1, 100, 60)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "say what to segment"),
        ({"labels": [1]}, "give points too"),
        ({"points": [1, 2, 3]}, r"got shape \(3,\)"),
        ({"points": [[1, 2], [3, 4]], "labels": [1]}, "2 points need as many labels, got 1"),
        ({"points": [1, 2], "bboxes": [[0, 0, 5, 5], [1, 1, 6, 6]]}, "got 1 of points, 2 of bboxes"),
        ({"points": [500, 20]}, "off the picture; the picture is 100x60 px"),
        ({"bboxes": [0, 0, 500, 20]}, "outside the picture; the picture is 100x60 px"),
        ({"bboxes": [5, 5, 5, 9]}, "x0 < x1"),
        ({"masks": np.ones((9, 9))}, "mask is 9x9 px but the picture is 100x60 px"),
        ({"masks": np.zeros((60, 100))}, "mask is empty"),
    ],
)
def test_prompts_that_make_no_sense(sam: SAM, prompt: dict[str, object], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        sam.predict(PICTURE, **prompt)  # type: ignore[arg-type]


def test_pictures_that_cannot_be_read(sam: SAM, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere.jpg: no such file"):
        sam.predict(tmp_path / "nowhere.jpg", points=[1, 1])
    with pytest.raises(SourceError, match=r"must be \(H, W, 3\) uint8 RGB, got \(4,\) float64"):
        sam.predict(np.zeros(4), points=[1, 1])  # type: ignore[arg-type]
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(SourceError, match=r"text.jpg: cannot be read as a picture"):
        sam.predict(tmp_path / "text.jpg", points=[1, 1])


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere"):
        SAM(tmp_path / "nowhere.pt")


def _result() -> SamResult:
    masks = np.zeros((2, 60, 100), bool)
    masks[0, 20:50, 10:40] = True
    boxes = np.array([[10, 20, 40, 50], [0, 0, 0, 0]], np.int32)
    return SamResult(PICTURE, masks, boxes, np.array([0.9, 0.1], np.float32))


def test_plot_colours_the_mask_and_nothing_else() -> None:
    result = _result()
    before = PICTURE.copy()
    drawn = result.plot()
    assert (drawn.shape, drawn.dtype) == (PICTURE.shape, np.uint8)
    changed = (drawn != PICTURE).any(axis=2)
    assert changed[result.masks[0]].mean() > 0.99
    assert not changed[~result.masks[0]].any()
    assert np.array_equal(PICTURE, before)


def test_save_writes_the_plot(tmp_path: Path) -> None:
    result = _result()
    path = result.save(tmp_path / "out.png")
    with Image.open(path) as written:
        assert np.array_equal(np.asarray(written), result.plot())
    for bad in (tmp_path / "no/such/folder/out.png", tmp_path / "out.nonsense"):
        with pytest.raises(SinkError, match="cannot write the picture"):
            result.save(bad)


def test_importing_the_package_does_not_load_torch() -> None:
    code = (
        "import sys, maskstream.model as m; assert 'torch' not in sys.modules; "
        "from maskstream.model import Prompt, SamPredictor, Predictor, load_predictor, SAM; "
        "assert 'torch' in sys.modules; assert not hasattr(m, 'Nonsense')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
