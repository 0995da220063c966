"""Folded attention is attention."""

from __future__ import annotations

import pytest
import torch
from maskstream.model.few_tokens import ImageReadsTokens, TokensReadImage, with_folded_attention
from maskstream.model.mask_decoder import ALL_MASKS
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.prompt_encoder import PromptBatch
from maskstream.model.transformer import Attention


@pytest.fixture(scope="module")
def plain() -> Attention:
    torch.manual_seed(0)
    attention = Attention(256, 128, 8).double()
    for linear in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
        torch.nn.init.normal_(linear.bias)  # zeros would hide a bias that is left out
    return attention.requires_grad_(False)


@pytest.mark.parametrize("tokens", [1, 5, 20])
def test_it_is_attention(plain: Attention, tokens: int) -> None:
    few, image, other_image = (torch.randn(2, count, 256).double() for count in (tokens, 30, 30))
    found = TokensReadImage(plain)(few, image, other_image)
    torch.testing.assert_close(found, plain(few, image, other_image), rtol=0, atol=1e-12)
    more = torch.randn_like(few)
    found = ImageReadsTokens(plain)(image, few, more)
    torch.testing.assert_close(found, plain(image, few, more), rtol=0, atol=1e-12)


def test_a_whole_decoder() -> None:
    torch.manual_seed(0)
    model = MobileSam().eval().requires_grad_(False)
    folded = with_folded_attention(model)
    assert all(
        a is b for a, b in zip(model.parameters(), folded.parameters(), strict=True)
    )  # nothing is copied
    assert "Folded" not in str(model)
    features, points_xy = torch.randn(1, 256, 4, 6), torch.tensor([[[8.0, 9.0], [70.0, 50.0]]])
    prompt = PromptBatch(points_xy, torch.tensor([[2, 3]]), torch.randn(1, 1, 16, 24))
    given = features, prompt, None, ALL_MASKS
    for found, expected in zip(folded.decode(*given), model.decode(*given), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
