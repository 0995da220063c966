from __future__ import annotations

import numpy as np
import torch
from maskstream.model.prompt_batch import batch_prompts, join_prompts, logits_of_mask
from maskstream.model.prompt_encoder import PromptBatch
from maskstream.model.types import ImageEmbedding, Prompt

CPU = torch.device("cpu")


def _embedding(original_hw: tuple[int, int]) -> ImageEmbedding:
    return ImageEmbedding(torch.zeros(1, 256, 9, 16), original_hw, resized_hw=(144, 256), input_hw=(144, 256))


HALF, DOUBLE = _embedding((72, 128)), _embedding((288, 512))  # the image's size against the model input's


def test_tokens_come_in_sam_s_order_and_in_px_of_the_model_input() -> None:
    prompts = [
        Prompt(1, [[10, 20], [30, 40]], [1, 0]),
        Prompt(2, [[10, 20]], [0], box_xyxy=[1, 2, 3, 4]),
        Prompt(3, box_xyxy=[1, 2, 3, 4]),
    ]
    batch = batch_prompts(prompts, [HALF, HALF, DOUBLE], CPU)
    assert batch.labels.tolist() == [[1, 0, -1], [0, 2, 3], [2, 3, -2]]
    assert batch.points_xy.tolist() == [
        [[20, 40], [60, 80], [0, 0]],
        [[20, 40], [2, 4], [6, 8]],
        [[0.5, 1], [1.5, 2], [0, 0]],
    ]
    assert batch.mask_logits is None
    assert batch.has_mask is None


def test_masks_stand_beside_prompts_without_one() -> None:
    mask = np.zeros((72, 128), bool)
    mask[10:20, 30:50] = True
    logits = np.full((1, 36, 64), 3, np.float32)
    prompts = [Prompt(1, [[1, 1]], [1]), Prompt(2, mask=mask), Prompt(3, mask=mask, low_res_logits=logits)]
    batch = batch_prompts(prompts, [HALF] * 3, CPU)
    assert batch.labels.tolist() == [[1, -1], [2, 3], [2, 3]]
    assert batch.points_xy[1].tolist() == [[60, 20], [100, 40]]  # a drawn mask brings its box
    assert batch.mask_logits is not None
    assert batch.has_mask is not None
    assert batch.has_mask.tolist() == [False, True, True]
    assert torch.equal(batch.mask_logits[1], logits_of_mask(mask, HALF))
    assert (batch.mask_logits[2] == 3).all()  # the decoder's own logits are better than a drawn mask's


def test_batches_on_several_images_are_joined() -> None:
    points, labels = torch.arange(12.0).reshape(3, 2, 2), torch.tensor([[2, 3], [1, -1], [2, 3]])
    logits = torch.ones(1, 1, 36, 64)
    batches = [PromptBatch(points[:2], labels[:2]), PromptBatch(points[2:], labels[2:], logits)]
    joined = join_prompts(batches, (9, 16))
    assert torch.equal(joined.points_xy, points)
    assert torch.equal(joined.labels, labels)
    assert joined.mask_logits is not None and joined.has_mask is not None
    assert joined.mask_logits.sum(dim=(1, 2, 3)).tolist() == [0, 0, 36 * 64]
    assert joined.has_mask.tolist() == [False, False, True]
    features = torch.arange(2.0)[:, None, None, None]
    assert joined.pick_images(features).flatten().tolist() == [0, 0, 1]
    assert batches[0].pick_images(features) is features
