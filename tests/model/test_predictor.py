from __future__ import annotations

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from maskstream.model.cuda_engine import CudaEngine
from maskstream.model.errors import ConfigError, PromptError
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.predictor import (
    Predictor,
    load_predictor,
    resolve_device,
    stability_score,
    upsample_logits,
)
from maskstream.model.prompt_batch import logits_of_mask
from maskstream.model.prompt_encoder import PromptBatch
from maskstream.model.types import BoolMask, ImageEmbedding, Prompt, RgbImage, box_of_mask

HW = (72, 128)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(MobileSam().eval(), size=256)


def _image(seed: int, hw: tuple[int, int] = HW) -> RgbImage:
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3), np.uint8)


@pytest.fixture(scope="module")
def embedding(predictor: Predictor) -> ImageEmbedding:
    return predictor.encode(_image(0))


def _mask(hw: tuple[int, int] = HW) -> BoolMask:
    mask = np.zeros(hw, bool)
    mask[10:40, 20:90] = True
    return mask


def _mixed_prompts() -> list[Prompt]:
    logits = np.random.default_rng(1).normal(0, 5, (1, 36, 64)).astype(np.float32)
    return [
        Prompt(1, [[30, 20]], [1]),
        Prompt(2, [[30, 20], [100, 60], [5, 5]], [1, 0, 1], box_xyxy=[10, 10, 90, 50]),
        Prompt(3, mask=_mask()),
        Prompt(4, box_xyxy=[10, 10, 90, 50], low_res_logits=logits),
        Prompt(5, [[30, 20], [31, 22]], [1, 1]),
    ]


@pytest.mark.parametrize(
    ("original_hw", "resized_hw", "input_hw"),
    [
        ((720, 1280), (144, 256), (144, 256)),
        ((1280, 720), (256, 144), (256, 144)),
        ((480, 640), (192, 256), (192, 256)),
        ((100, 256), (100, 256), (112, 256)),
        ((5, 900), (1, 256), (16, 256)),
    ],
)
def test_encode_takes_any_shape(
    predictor: Predictor,
    original_hw: tuple[int, int],
    resized_hw: tuple[int, int],
    input_hw: tuple[int, int],
) -> None:
    embedding = predictor.encode(_image(0, original_hw))
    assert predictor.input_hw_for(original_hw) == embedding.input_hw == input_hw
    assert (embedding.original_hw, embedding.resized_hw) == (original_hw, resized_hw)
    assert embedding.features.shape == (1, 256, input_hw[0] // 16, input_hw[1] // 16)
    logits = predictor.decode(embedding, [Prompt(1, [[1, 1]], [1])], multimask_output=True).low_res_logits
    assert logits.shape == (1, 3, input_hw[0] // 4, input_hw[1] // 4)
    assert upsample_logits(logits, embedding).shape == (1, 3, *original_hw)


def test_encode_refuses_what_is_no_rgb_image(predictor: Predictor) -> None:
    for bad in (np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3)), np.zeros((4, 0, 3), np.uint8)):
        with pytest.raises(ValueError, match=re.escape(f"got {bad.shape} {bad.dtype}")):
            predictor.encode(bad)


def test_read_only_and_strided_images_are_fine(predictor: Predictor) -> None:
    image = _image(3, (256, 256))
    image.setflags(write=False)
    flipped = image[:, ::-1]
    assert torch.equal(predictor.preprocess(flipped), predictor.preprocess(np.ascontiguousarray(flipped)))
    assert torch.equal(predictor.preprocess(flipped), predictor.preprocess(image).flip(3))


def test_padding_comes_after_normalisation(predictor: Predictor) -> None:
    pixels = predictor.preprocess(np.full((100, 256, 3), 200, np.uint8))
    assert pixels.shape == (1, 3, 112, 256)
    assert (pixels[:, :, 100:] == 0).all()
    assert pixels[0, :, 0, 0].tolist() == pytest.approx(
        [(200 - 123.675) / 58.395, (200 - 116.28) / 57.12, (200 - 103.53) / 57.375]
    )


def test_encoder_stages_come_with_the_same_embedding(predictor: Predictor) -> None:
    with torch.inference_mode():
        pixels = predictor.preprocess(_image(0))
        features, stages = predictor.model.encode_stages(pixels)
        assert torch.equal(features, predictor.model.encode(pixels))
    shapes = [tuple(stage.shape[1:]) for stage in stages]
    assert shapes == [(64, 36, 64), (128, 18, 32), (160, 9, 16), (320, 9, 16)]


@pytest.mark.parametrize("multimask_output", [False, True])
def test_a_prompt_s_answer_does_not_depend_on_its_company(
    predictor: Predictor, embedding: ImageEmbedding, multimask_output: bool
) -> None:
    prompts = _mixed_prompts()
    together = predictor.decode(embedding, prompts, multimask_output)
    assert together.predicted_iou.shape == (5, 3 if multimask_output else 1)
    for row, prompt in enumerate(prompts):
        alone = predictor.decode(embedding, [prompt], multimask_output)
        torch.testing.assert_close(together.low_res_logits[row], alone.low_res_logits[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(together.predicted_iou[row], alone.predicted_iou[0], atol=1e-4, rtol=0)


def test_prompts_over_different_images_in_one_call(predictor: Predictor, embedding: ImageEmbedding) -> None:
    # The second image has another size but the same grid, so its prompts scale by other factors.
    other = predictor.encode(_image(1, (36, 64)))
    prompts = [Prompt(1, [[30, 20]], [1]), Prompt(2, box_xyxy=[5, 5, 40, 30]), Prompt(3, mask=_mask())]
    embeddings = [embedding, other, embedding]
    together = predictor.decode(embeddings, prompts)
    for row, (prompt, one) in enumerate(zip(prompts, embeddings, strict=True)):
        alone = predictor.decode(one, [prompt]).low_res_logits[0]
        torch.testing.assert_close(together.low_res_logits[row], alone, atol=1e-4, rtol=0)
    swapped = predictor.decode([other, embedding, embedding], prompts).low_res_logits
    assert (swapped[0] - together.low_res_logits[0]).abs().max() > 1e-4


def test_decode_all_is_the_single_mask_and_the_three_candidates(
    predictor: Predictor, embedding: ImageEmbedding
) -> None:
    prompts = _mixed_prompts()
    everything = predictor.decode_all(embedding, prompts)
    parts = [predictor.decode(embedding, prompts, multimask_output) for multimask_output in (False, True)]
    logits = torch.cat([part.low_res_logits for part in parts], dim=1)
    torch.testing.assert_close(everything.low_res_logits, logits, atol=1e-5, rtol=0)
    ious = torch.cat([part.predicted_iou for part in parts], dim=1)
    torch.testing.assert_close(everything.predicted_iou, ious, atol=1e-5, rtol=0)


def test_no_prompts_no_masks(predictor: Predictor, embedding: ImageEmbedding) -> None:
    strict = Predictor(predictor.model, 256, engine=CudaEngine(predictor.model, compiled=False))
    some = [
        strict.decode(embedding, []),
        strict.decode(embedding, [], True),
        strict.decode_all(embedding, []),
    ]
    assert [nothing.low_res_logits.shape for nothing in some] == [(0, n, 36, 64) for n in (1, 3, 4)]
    assert [nothing.predicted_iou.shape for nothing in some] == [(0, n) for n in (1, 3, 4)]


def test_a_drawn_mask_is_its_box_and_its_logits(predictor: Predictor, embedding: ImageEmbedding) -> None:
    mask = _mask()
    spelled_out = Prompt(
        1, box_xyxy=box_of_mask(mask), low_res_logits=logits_of_mask(mask, embedding).numpy()
    )
    drawn = predictor.decode(embedding, [Prompt(1, mask=mask)])
    assert torch.equal(drawn.low_res_logits, predictor.decode(embedding, [spelled_out]).low_res_logits)
    boxed = Prompt(1, mask=mask, box_xyxy=[0, 0, 50, 50])
    assert not torch.equal(drawn.low_res_logits, predictor.decode(embedding, [boxed]).low_res_logits)


def test_mask_logits_lie_where_the_mask_lies() -> None:
    features = torch.zeros(1, 256, 7, 16)
    embedding = ImageEmbedding(features, original_hw=(50, 128), resized_hw=(100, 256), input_hw=(112, 256))
    mask = np.zeros((50, 128), bool)
    mask[10:30, 20:100] = True  # 20..60 by 40..200 px in the model input, 5..15 by 10..50 cells of 4 px
    logits = logits_of_mask(mask, embedding)[0]
    assert logits.shape == (28, 64)
    assert (logits.min(), logits.max()) == (-8, 8)
    inside = torch.zeros(28, 64, dtype=torch.bool)
    inside[5:15, 10:50] = True
    assert torch.equal(logits > 0, inside)
    assert (logits[25:] == -8).all()  # the padding is background


def test_the_positions_of_a_wide_input_are_the_top_of_the_square_s(predictor: Predictor) -> None:
    encoder = predictor.model.prompt_encoder
    square = encoder.grid_positions((16, 16))
    assert torch.equal(encoder.grid_positions((9, 16)), square[:, :, :9])
    assert torch.equal(encoder.grid_positions((16, 9)), square[..., :9])


def test_a_point_on_a_cell_s_centre_has_that_cell_s_position(predictor: Predictor) -> None:
    encoder = predictor.model.prompt_encoder
    grid = encoder.grid_positions((9, 16))
    # Cell (3, 5) spans 80..96 by 48..64 px; SAM's half pixel is added to the point.
    prompt = PromptBatch(torch.tensor([[[87.5, 55.5]]]), torch.tensor([[1]]))
    token = encoder.sparse(prompt, 256)[0, 0]
    position = token - encoder.point_embeddings[1].weight[0]
    torch.testing.assert_close(position, grid[0, :, 3, 5], atol=1e-5, rtol=0)


def test_order_of_calls_does_not_matter(predictor: Predictor, embedding: ImageEmbedding) -> None:
    prompt = Prompt(1, [[30, 20]], [1])
    before = predictor.decode(embedding, [prompt]).low_res_logits
    predictor.decode(predictor.encode(_image(9, (90, 60))), [prompt])
    assert torch.equal(predictor.decode(embedding, [prompt]).low_res_logits, before)
    assert torch.equal(predictor.encode(_image(0)).features, embedding.features)
    assert before.is_inference()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt(3, mask=np.ones((5, 6), bool)), r"prompt 3: mask is \(5, 6\) but the image is \(72, 128\)"),
        (
            Prompt(4, [[1, 1]], [1], low_res_logits=np.zeros((1, 64, 64), np.float32)),
            r"prompt 4: low_res_logits are \(64, 64\), this image's are \(36, 64\)",
        ),
    ],
)
def test_masks_that_do_not_fit_the_image(
    predictor: Predictor, embedding: ImageEmbedding, prompt: Prompt, message: str
) -> None:
    with pytest.raises(PromptError, match=message):
        predictor.decode(embedding, [prompt])


def test_embeddings_that_do_not_fit_the_prompts(predictor: Predictor, embedding: ImageEmbedding) -> None:
    prompt = Prompt(1, [[1, 1]], [1])
    with pytest.raises(PromptError, match="one embedding per prompt: got 2 for 1"):
        predictor.decode([embedding, embedding], [prompt])
    upright = predictor.encode(_image(0, (128, 72)))
    with pytest.raises(PromptError, match=r"one input size, got \(h, w\) \[\(144, 256\), \(256, 144\)\]"):
        predictor.decode([embedding, upright], [prompt, prompt])


def test_upsampling_leaves_the_padding_out() -> None:
    embedding = ImageEmbedding(
        torch.zeros(1, 256, 2, 4), original_hw=(48, 128), resized_hw=(24, 64), input_hw=(32, 64)
    )
    low_res_logits = torch.full((1, 1, 8, 16), -5.0)
    low_res_logits[:, :, :, 8:] = 5.0
    low_res_logits[:, :, 7:] = 99.0  # well inside the padding
    logits = upsample_logits(low_res_logits, embedding)
    assert logits.shape == (1, 1, 48, 128)
    assert logits.max() == 5
    assert torch.equal(logits[0, 0] > 0, (torch.arange(128) >= 64).expand(48, 128))


def test_stability_score_is_the_iou_under_a_threshold_shift() -> None:
    logits = torch.tensor([[[5.0, 0.5, -0.5, -5.0]], [[5.0, 5.0, -5.0, -5.0]], [[-5.0, -5.0, -5.0, -5.0]]])
    assert stability_score(logits).tolist() == pytest.approx([1 / 3, 1, 0])
    assert stability_score(logits, threshold=1.0, offset=0.1)[0] == 1
    assert stability_score(logits, offset=10.0)[1] == 0


@pytest.mark.parametrize("size", [0, -16, 1000])
def test_sizes_that_are_no_multiple_of_16(size: int) -> None:
    with pytest.raises(ConfigError, match=f"multiple of 16 px, got {size}"):
        load_predictor("nowhere.pt", size=size)


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cuda:99", "meta"):
        with pytest.raises(ConfigError, match=f"'{name}' is not on this machine; it has: cpu"):
            load_predictor("nowhere.pt", device=name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_what_the_cpu_gives(predictor: Predictor, embedding: ImageEmbedding) -> None:
    on_gpu = Predictor(copy.deepcopy(predictor.model).to("cuda"), size=predictor.size)
    with torch.backends.cudnn.flags(allow_tf32=False):
        found = on_gpu.decode(on_gpu.encode(_image(0)), _mixed_prompts(), multimask_output=True)
    wanted = predictor.decode(embedding, _mixed_prompts(), multimask_output=True)
    assert found.low_res_logits.device.type == "cuda"
    torch.testing.assert_close(found.low_res_logits.cpu(), wanted.low_res_logits, atol=1e-3, rtol=0)


def test_an_embedding_says_what_does_not_fit(embedding: ImageEmbedding) -> None:
    with pytest.raises(ValueError, match=r"must be \(1, 256"):
        replace(embedding, input_hw=(256, 256))
