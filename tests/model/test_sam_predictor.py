"""What parity tests cannot say: states, formats and errors of SAM's door."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from maskstream.model.errors import PromptError
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.predictor import Predictor
from maskstream.model.sam_predictor import SamPredictor

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)


@pytest.fixture(scope="module")
def model() -> MobileSam:
    torch.manual_seed(0)
    return MobileSam().eval()


@pytest.fixture
def predictor(model: MobileSam) -> SamPredictor:
    predictor = SamPredictor(Predictor(model, size=256))
    predictor.set_image(IMAGE)
    return predictor


def test_a_bare_model_is_run_at_sam_s_own_size(model: MobileSam) -> None:
    assert SamPredictor(model).transform.target_length == 1024


def test_without_an_image(model: MobileSam, predictor: SamPredictor) -> None:
    predictor.reset_image()
    for empty in (SamPredictor(model), predictor):
        assert not empty.is_image_set
        with pytest.raises(RuntimeError, match="call set_image"):
            empty.predict(np.array([[1, 1]]), np.array([1]))
        with pytest.raises(RuntimeError, match="call set_image"):
            empty.get_image_embedding()


def test_a_failed_set_image_leaves_no_old_image_behind(predictor: SamPredictor) -> None:
    with pytest.raises(ValueError, match="must be"):
        predictor.set_image(IMAGE[..., 0])
    assert not predictor.is_image_set


def test_bgr_is_rgb_reversed(predictor: SamPredictor) -> None:
    embedding = predictor.get_image_embedding()
    assert embedding.shape == (1, 256, 16, 16)
    predictor.set_image(IMAGE[..., ::-1], image_format="BGR")
    assert torch.equal(predictor.get_image_embedding(), embedding)
    with pytest.raises(ValueError, match="'RGB' or 'BGR', got 'HSV'"):
        predictor.set_image(IMAGE, image_format="HSV")


def test_a_transformed_image_gives_the_same_embedding(predictor: SamPredictor) -> None:
    embedding = predictor.get_image_embedding()
    transformed = torch.from_numpy(predictor.transform.apply_image(IMAGE).copy()).permute(2, 0, 1)[None]
    predictor.set_torch_image(transformed, IMAGE.shape[:2])
    assert torch.equal(predictor.get_image_embedding(), embedding)
    assert predictor.predict(box=[1, 2, 30, 40])[0].shape == (3, 48, 80)
    with pytest.raises(ValueError, match="long side 256 px"):
        predictor.set_torch_image(transformed[..., :100], IMAGE.shape[:2])


def test_shapes_and_types(predictor: SamPredictor) -> None:
    masks, predicted_iou, low_res_logits = predictor.predict(np.array([[30, 20]]), np.array([1]))
    assert (masks.shape, masks.dtype) == ((3, 48, 80), np.bool_)
    assert (predicted_iou.shape, predicted_iou.dtype) == ((3,), np.float32)
    assert (low_res_logits.shape, low_res_logits.dtype) == ((3, 64, 64), np.float32)


def test_a_label_of_minus_one_is_no_point(predictor: SamPredictor) -> None:
    wanted = predictor.predict(np.array([[30, 20]]), np.array([1]))[2]
    padded = predictor.predict(np.array([[30, 20], [60, 40]]), np.array([1, -1]))[2]
    moved = predictor.predict(np.array([[30, 20], [10, 10]]), np.array([1, -1]))[2]
    assert np.array_equal(padded, moved)
    assert not np.array_equal(padded, wanted)  # SAM sees that there are two such tokens


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"point_coords": [[1, 1]]}, "give both or neither"),
        ({"point_labels": [1]}, "give both or neither"),
        ({"point_coords": [[1, 1]], "point_labels": [1, 0]}, r"got \(1, 1, 2\) and \(1, 2\)"),
        ({"point_coords": [[1, 1]], "point_labels": [2]}, r"must be 1, 0 or -1, got \[\[2\]\]"),
        ({"box": [[0, 0, 5, 5], [1, 1, 9, 9]]}, "one box, got 2; predict_torch takes many"),
        (
            {"box": [0, 0, 5, 5], "mask_input": np.zeros((256, 256))},
            r"be \(1, 1, 64, 64\), .* got \(1, 256",
        ),
    ],
)
def test_prompts_of_the_wrong_shape(predictor: SamPredictor, prompt: dict[str, object], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        predictor.predict(**prompt)  # type: ignore[arg-type]


def test_many_boxes_need_as_many_points(predictor: SamPredictor) -> None:
    with pytest.raises(PromptError, match=r"boxes must be \(1, 4\), got \(2, 4\)"):
        predictor.predict_torch(torch.ones(1, 1, 2), torch.ones(1, 1), torch.ones(2, 4))
