"""What many objects look like at once, against the memory of each alone."""

from __future__ import annotations

import pytest
import torch
from maskstream.model import appearance, batch_looks
from maskstream.model.appearance import Anchor, AppearanceGrid, AppearanceMemory
from maskstream.model.batch_looks import Looks, places_in_order
from torch import Tensor
from torch.nn import functional

GRID_HW = (24, 32)
CPU = torch.device("cpu")
ROWS = 3


def grid_of(seed: int) -> AppearanceGrid:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(12, 16, 7, generator=generator)
    detail = torch.randn(20, *GRID_HW, generator=generator)
    return AppearanceGrid(functional.normalize(coarse, dim=2), functional.normalize(detail, dim=0))


def shares(seed: int) -> Tensor:
    """A large object, a small one of few cells, nothing: (3, gh, gw)."""
    generator = torch.Generator().manual_seed(seed)
    soft = torch.zeros(ROWS, *GRID_HW)
    soft[0, 4:18, 5:25] = torch.rand(14, 20, generator=generator)
    soft[1, 3:6, 20:24] = torch.rand(3, 4, generator=generator)
    return soft


def gathered(grid: AppearanceGrid, soft: Tensor, trust: Tensor) -> tuple[Tensor, Tensor]:
    order = places_in_order(soft[0].numel(), CPU)
    return batch_looks.gather_evidence(grid, order, soft, trust)


def test_the_same_cells_teach_the_same() -> None:
    grid, soft = grid_of(0), shares(0)
    trust = torch.rand(ROWS, *GRID_HW, generator=torch.Generator().manual_seed(5))
    grams, moments = gathered(grid, soft, trust)
    for row in range(ROWS):
        alone = appearance.gather_evidence(grid, soft[row], trust[row])
        assert torch.allclose(grams[row], alone.gram, atol=1e-5)
        assert torch.allclose(moments[row], alone.moment, atol=1e-5)


def shown(rows: int = ROWS) -> tuple[Looks, list[AppearanceMemory]]:
    """The same objects in rows and in memories of their own."""
    grid, looks = grid_of(0), Looks.blank(rows, 28, CPU)
    anchors = [Anchor.of(grid, soft, is_exact=True) for soft in shares(0)[:2]]
    for row, anchor in enumerate(anchors):
        looks.show(row, anchor, anchors=1, anchor_weight=0.5)
    return looks, [AppearanceMemory(anchor, 0.5) for anchor in anchors]


def taught(looks: Looks, memories: list[AppearanceMemory], seed: int, learns: list[bool]) -> None:
    grid, soft, trust = grid_of(seed), shares(seed), torch.ones(ROWS, *GRID_HW)
    rates = torch.tensor([0.1, 0.4, 0.3])
    looks.learn(*gathered(grid, soft, trust), rates, torch.tensor(learns), 0.5)
    for row, memory in enumerate(memories):
        if learns[row]:
            memory.learn(appearance.gather_evidence(grid, soft[row], trust[row]), float(rates[row]))


def assert_alike(looks: Looks, memories: list[AppearanceMemory]) -> None:
    now, as_shown = looks.respond(grid_of(9))
    for row, memory in enumerate(memories):
        own_now, own_as_shown = memory.respond(grid_of(9))
        assert torch.allclose(now[row], own_now, atol=2e-4)
        assert torch.allclose(as_shown[row], own_as_shown, atol=2e-4)


def test_rows_learn_as_memories_do() -> None:
    looks, memories = shown()
    assert_alike(looks, memories)
    for seed, learns in enumerate(
        [[True, False, False], [True, True, False], [False, False, False]], start=1
    ):
        taught(looks, memories, seed, learns)
        assert_alike(looks, memories)


def test_a_correction_is_another_anchor() -> None:
    looks, memories = shown()
    taught(looks, memories, 1, [True, True, False])
    assert_alike(looks, memories)
    anchor = Anchor.of(grid_of(4), shares(4)[1], is_exact=True)
    looks.show(1, anchor, anchors=2, anchor_weight=0.5)
    memories[1].add_anchor(anchor)
    assert_alike(looks, memories)


def test_a_row_is_used_again_as_if_it_were_new() -> None:
    looks, memories = shown()
    taught(looks, memories, 1, [True, True, False])
    anchor = Anchor.of(grid_of(4), shares(4)[0], is_exact=True)
    looks.show(0, anchor, anchors=1, anchor_weight=0.5)
    assert_alike(looks, [AppearanceMemory(anchor, 0.5), memories[1]])


def test_rows_that_do_not_learn_stay_bit_for_bit() -> None:
    looks, memories = shown()
    taught(looks, memories, 1, [True, True, False])
    before = [looks.recent_gram[1].clone(), looks.recent_moment[1].clone(), looks.weights[1].clone()]
    taught(looks, memories, 2, [True, False, False])
    after = [looks.recent_gram[1], looks.recent_moment[1], looks.weights[1]]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("row", [0, 2])
def test_blank_rows_stay_finite(row: int) -> None:
    looks = Looks.blank(ROWS, 28, CPU)
    nothing = torch.zeros(ROWS, *GRID_HW)
    looks.learn(
        *gathered(grid_of(0), nothing, nothing),
        torch.zeros(ROWS),
        torch.arange(ROWS) == row,
        0.5,
    )
    assert all(bool(torch.isfinite(response).all()) for response in looks.respond(grid_of(0)))
