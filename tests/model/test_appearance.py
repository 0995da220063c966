from __future__ import annotations

import pytest
import torch
from maskstream.model import appearance
from maskstream.model.appearance import (
    MOST_ANCHOR_CELLS,
    Anchor,
    AppearanceGrid,
    AppearanceMemory,
    Evidence,
    gather_evidence,
)
from maskstream.model.types import ImageEmbedding
from torch import Tensor
from torch.nn import functional

GRID_HW = (12, 16)


def _grid(soft: Tensor, seed: int, looks: int = 0) -> AppearanceGrid:
    """Vectors that say `looks` on the object and something else beside it, with noise."""
    generator = torch.Generator().manual_seed(seed)
    vectors = 0.3 * torch.randn(soft.numel(), 24, generator=generator)
    vectors[:, looks] += soft.flatten()
    vectors[:, 23] += 1 - soft.flatten()
    vectors = functional.normalize(vectors).T.view(24, *GRID_HW)
    return AppearanceGrid(torch.zeros(6, 8, 2), vectors)


def _response(memory: AppearanceMemory, grid: AppearanceGrid) -> Tensor:
    return memory.respond(grid)[0]


def _square(top: int, left: int) -> Tensor:
    soft = torch.zeros(GRID_HW)
    soft[top : top + 4, left : left + 5] = 1
    return soft


def _memory(**settings: float) -> AppearanceMemory:
    soft = _square(2, 3)
    return AppearanceMemory(
        Anchor.of(_grid(soft, seed=0), soft, is_exact=True), **{"anchor_weight": 0.5, **settings}
    )


def test_what_was_shown_is_found_elsewhere() -> None:
    moved = _square(6, 9)
    response = _response(_memory(), _grid(moved, seed=1))
    assert response[moved > 0].mean() > 0.4
    assert response[moved == 0].mean() < -0.4


def test_new_looks_are_learned_and_the_anchor_never_fades() -> None:
    memory, place = _memory(), _square(5, 5)
    before = _response(memory, _grid(place, seed=3, looks=1))[place > 0].mean()
    for seed in range(200):
        memory.learn(gather_evidence(_grid(place, seed=10 + seed, looks=1), place), 0.1)
    assert _response(memory, _grid(place, seed=3, looks=1))[place > 0].mean() > before + 0.5
    assert _response(memory, _grid(place, seed=4, looks=0))[place > 0].mean() > 0.2


def test_distrusted_cells_teach_nothing() -> None:
    place, wrong = _square(5, 5), _square(0, 0)
    trust = 1 - wrong
    grid = _grid(torch.maximum(place, wrong), seed=5)  # the corner looks like the object, but is left out
    trusted, doubted = (gather_evidence(grid, place, one).solve() for one in (None, trust))
    without, with_doubt = grid.respond(torch.stack([trusted, doubted]))
    assert with_doubt[wrong > 0].mean() > without[wrong > 0].mean()


def test_memory_does_not_grow() -> None:
    memory, place = _memory(), _square(5, 5)
    grid = _grid(place, seed=6)
    evidence, anchor = gather_evidence(grid, place), Anchor.of(grid, place, is_exact=True)
    memory.learn(evidence, 0.1)
    size = sum(t.numel() for t in _tensors(memory))
    for _ in range(50):
        memory.learn(evidence, 0.1)
        memory.add_anchor(anchor)
    assert sum(t.numel() for t in _tensors(memory)) == size


def _tensors(memory: AppearanceMemory) -> list[Tensor]:
    known = [memory._anchor.evidence, *(one for one in vars(memory).values() if isinstance(one, Evidence))]
    return [memory._anchor_weights, *(t for evidence in known for t in (evidence.gram, evidence.moment))]


def test_of_what_the_user_shows_what_is_hard_to_tell_counts_most() -> None:
    place, like_it = _square(5, 5), torch.zeros(GRID_HW)
    like_it[:2, :2] = 0.6  # a corner that is rather like the object
    grid = _grid(torch.maximum(place, like_it), seed=5)
    alike = gather_evidence(grid, place, most=MOST_ANCHOR_CELLS).solve()
    before, after = grid.respond(torch.stack([alike, Anchor.of(grid, place, is_exact=True).evidence.solve()]))
    corner = like_it > 0
    assert after[place > 0].mean() - after[corner].mean() > before[place > 0].mean() - before[corner].mean()


def test_a_mask_that_may_be_wrong_teaches_all_alike() -> None:
    place = _square(5, 5)
    grid = _grid(0.5 * place, seed=5)
    anchor = Anchor.of(grid, place, is_exact=False)
    alike = gather_evidence(grid, place, most=MOST_ANCHOR_CELLS)
    assert torch.equal(anchor.evidence.gram, alike.gram)
    now, _ = AppearanceMemory(anchor, 0.5).respond(grid)
    torch.testing.assert_close(now, grid.respond(alike.solve()[None])[0])


def test_what_was_shown_is_in_better_balance_than_its_regression() -> None:
    place = _square(5, 5)
    grid = _grid(0.5 * place, seed=5)  # little tells the object
    anchor = Anchor.of(grid, place, is_exact=True)
    plain = grid.respond(anchor.evidence.solve()[None])[0]
    as_shown = AppearanceMemory(anchor, 0.5).respond(grid)[1]
    for side, goal in ((place > 0, 1), (place == 0, -1)):
        assert abs(as_shown[side].mean() - goal) < 0.7 * abs(plain[side].mean() - goal)


def test_responses_are_those_of_the_vectors_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    grid = AppearanceGrid(
        torch.randn(6, 8, 5, generator=generator), torch.randn(7, *GRID_HW, generator=generator)
    )
    weights = torch.randn(2, 13, generator=generator)
    vectors = grid.vectors(torch.arange(GRID_HW[0] * GRID_HW[1]))
    torch.testing.assert_close(grid.respond(weights).flatten(1), weights @ vectors.T)


def test_a_choice_of_cells_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    soft = torch.zeros(GRID_HW)
    soft[2:10, 2:12] = 1
    grid = _grid(soft, seed=0)
    everything = gather_evidence(grid, soft, torch.ones(GRID_HW))
    monkeypatch.setattr(appearance, "MOST_CELLS", 40)
    chosen = gather_evidence(grid, soft, torch.ones(GRID_HW))
    assert (chosen.moment - everything.moment).norm() < 0.2 * everything.moment.norm()


def test_looks_that_changed_a_little_are_solved_for_from_those_before() -> None:
    place = _square(5, 5)
    before = gather_evidence(_grid(place, seed=6), place)
    after = before.mix(gather_evidence(_grid(place, seed=7, looks=1), place), 0.1)
    start, exact = before.solve(), after.solve()
    assert (after.solve(start) - exact).norm() < 0.05 * (start - exact).norm()
    torch.testing.assert_close(after.solve(exact), exact, atol=1e-4, rtol=1e-4)


def test_a_cell_has_the_embedding_there_at_unit_length() -> None:
    features = torch.randn(1, 256, 4, 6, generator=torch.Generator().manual_seed(0))
    embedding = ImageEmbedding(features, (64, 96), (64, 96), (64, 96), torch.zeros(1, 192, 8, 12))
    coarse = AppearanceGrid.of(embedding).coarse
    assert coarse.shape == (4, 6, 256)
    torch.testing.assert_close(coarse[1, 5], features[0, :, 1, 5] / features[0, :, 1, 5].norm())


def test_an_embedding_without_detail_is_refused() -> None:
    embedding = ImageEmbedding(torch.zeros(1, 256, 4, 4), (64, 64), (64, 64), (64, 64))
    with pytest.raises(ValueError, match=r"Predictor\.encode"):
        AppearanceGrid.of(embedding)
