"""A frame's work on all objects: a GPU can do it without asking the host, and does it as a CPU does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from maskstream.model import appearance, batch_work
from maskstream.model.batch_finder import BatchFinder, BatchFound
from maskstream.model.batch_learner import BatchLearner
from maskstream.model.batch_outlook import Ahead, BatchOutlook
from maskstream.model.batch_rows import FrameShape, Rows
from maskstream.model.batch_work import BatchWork, FrameTensors
from maskstream.model.finder import FinderSettings
from maskstream.model.tracker_settings import TrackerSettings
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import DataDependentOutputException
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SHAPE = FrameShape((97, 160), (194, 320), (208, 320), (52, 80), (256, 192))
ROWS = 3
EASY = FinderSettings(least_likeness=0.0, found_likeness=0.0)  # so that something is found in noise
SETTINGS = (TrackerSettings(finder=EASY), TrackerSettings(finder=EASY, interaction="exclusive", ask_every=3))
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


class OnOneDevice(TorchDispatchMode):
    """Refuses whatever touches a tensor of the CPU: a copy from there could not be recorded."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        assert all(one.device.type == "cuda" for one in tensors), f"{func} has a tensor of the CPU"
        return func(*args, **(kwargs or {}))


def test_the_guard_refuses_tensors_of_the_cpu() -> None:
    with FakeTensorMode(), pytest.raises(AssertionError, match="has a tensor of the CPU"), OnOneDevice():
        torch.zeros(2).to("cuda")
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        bool(torch.zeros(2, device="cuda").any())


@pytest.fixture
def no_fake_is_kept() -> Iterator[None]:
    """What is made once for each device must not be a fake one for the tests that come after."""
    yield
    appearance.shuffled_cells.cache_clear()


@pytest.mark.usefixtures("no_fake_is_kept")
@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "exclusive"])
def test_nothing_waits_for_the_device_or_comes_from_the_host(settings: TrackerSettings) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        rows = Rows.blank(ROWS, SHAPE, torch.device("cuda"))
        outlook, finder, learner = (
            kind(rows, SHAPE, settings) for kind in (BatchOutlook, BatchFinder, BatchLearner)
        )
        frame, image, answers, choice = batch_work._examples(ROWS, SHAPE, torch.device("cuda"))
        with OnOneDevice():
            ahead = outlook.look_ahead(*frame)
            prompts = outlook.prompts(ahead)
            found = finder.find(image, *answers, choice, *ahead)
            learner.learn(frame.coarse, frame.detail, ahead.as_shown, found.learns)
        given = (prompts.points_xy, prompts.labels, prompts.mask_logits, prompts.has_mask)
        assert all(one is not None and one.device.type == "cuda" for one in (*ahead, *found, *given))
        assert found.masks.shape == (ROWS, *SHAPE.original_hw)
        assert found.figures.shape == (ROWS, 8)


Frame = tuple[FrameTensors, Tensor, tuple[Tensor, Tensor]]


def frames(count: int) -> Iterator[Frame]:
    """What a tracker might be given: all at random."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        blank, image, answers, _ = batch_work._examples(ROWS, SHAPE, torch.device("cpu"))
        ys, xs = torch.meshgrid(*(torch.arange(n).float() for n in SHAPE.low_res_hw), indexing="ij")
        moved = torch.stack([xs, ys], dim=2) + torch.randn(blank.came_from.shape, generator=generator)
        frame = FrameTensors(
            torch.nn.functional.normalize(torch.randn(blank.coarse.shape, generator=generator), dim=2),
            torch.nn.functional.normalize(torch.randn(blank.detail.shape, generator=generator), dim=0),
            moved,
            torch.rand(blank.agreement.shape, generator=generator),
            torch.ones(1, dtype=torch.bool),
        )
        picture = torch.randint(0, 256, image.shape, generator=generator, dtype=torch.uint8)
        logits = 4 * torch.randn(answers[0].shape, generator=generator)
        yield frame, picture, (logits, torch.rand(answers[1].shape, generator=generator))


def known(rows: Rows) -> None:
    """Objects in the rows: discs with looks at random."""
    generator = torch.Generator().manual_seed(1)
    height, width = SHAPE.low_res_hw
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for row in range(ROWS):
        is_inside = (ys - 20 - 6 * row).square() + (xs - 25 - 12 * row).square() < 150
        rows.soft[row] = is_inside.float()
        rows.looks.anchor_weights[row] = 0.2 * torch.randn(449, generator=generator)
        rows.looks.weights[row] = rows.looks.anchor_weights[row]
        vectors = torch.randn(600, 449, generator=generator) / 20
        rows.looks.anchor_gram[row] = vectors.T @ vectors
        rows.looks.gain[row] = 1
        rows.object_id[row] = row + 1


def run(work: BatchWork, device: torch.device) -> list[tuple[Ahead, BatchFound, list[Tensor]]]:
    followed = torch.tensor([True, True, False], device=device)
    done = []
    for frame, image, answers in frames(4):
        frame = FrameTensors(*(one.to(device) for one in frame))
        ahead, _ = work.look_ahead(frame)
        found = work.find(image.to(device), (answers[0].to(device), answers[1].to(device)), followed, ahead)
        work.learn(frame, ahead, found)
        done.append((ahead, found, [one.clone() for one in work.rows._tensors()]))
    return done


@pytest.fixture
def exact() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.mark.usefixtures("exact")
def test_a_row_that_is_not_followed_stays_as_it_is() -> None:
    work = BatchWork(ROWS, SHAPE, SETTINGS[0], torch.device("cpu"))
    known(work.rows)
    before = [one[2].clone() for one in work.rows._tensors()]
    after = run(work, torch.device("cpu"))[-1][2]
    assert all(torch.equal(one, other[2]) for one, other in zip(before, after, strict=True))
    assert work.rows.frames_seen[:2].min() > 0


@pytest.mark.usefixtures("exact")
def test_what_is_known_moves_to_more_rows() -> None:
    few, many = (BatchWork(rows, SHAPE, TrackerSettings(), torch.device("cpu")) for rows in (ROWS, ROWS + 1))
    known(few.rows)
    many.rows.take_over(few.rows)
    many.rows.move(0, 3)
    for own, theirs in zip(many.rows._tensors(), few.rows._tensors(), strict=True):
        assert torch.equal(own[:ROWS], theirs)
        assert torch.equal(own[3], theirs[0])


@pytest.mark.gpu
@needs_gpu
@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "exclusive"])
def test_recordings_on_a_gpu_do_what_a_cpu_does(settings: TrackerSettings) -> None:
    results = []
    for name in ("cpu", "cuda"):
        work = BatchWork(ROWS, SHAPE, settings, torch.device(name))
        blank = [one.float().abs().sum().item() for one in work.rows._tensors()]
        assert sum(blank) == 0  # recording leaves no trace
        known(work.rows)
        results.append(run(work, torch.device(name)))
    for (ahead, found, rows), (gpu_ahead, gpu_found, gpu_rows) in zip(*results, strict=True):
        here, there = (*ahead, *found, *rows), (*gpu_ahead, *gpu_found, *gpu_rows)
        assert all(share_off(one, other.cpu()) < 0.05 for one, other in zip(here, there, strict=True))


def share_off(one: Tensor, other: Tensor) -> float:
    """How much of two tensors is not alike."""
    return float(((one.float() - other.float()).abs() > 0.02 * (1 + one.float().abs())).float().mean())
