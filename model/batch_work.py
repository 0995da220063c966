"""A frame's work on all objects, in three pieces of fixed size, which a GPU has recorded."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .batch_finder import BatchFinder, BatchFound
from .batch_learner import BatchLearner
from .batch_outlook import Ahead, BatchOutlook
from .batch_rows import FrameShape, Rows
from .cuda_replay import Replay
from .mask_decoder import NUM_MASK_TOKENS
from .prompt_encoder import PromptBatch
from .tracker_settings import TrackerSettings


class FrameTensors(NamedTuple):
    """A frame, as the first piece of work takes it; see `BatchOutlook.look_ahead`."""

    coarse: Tensor
    detail: Tensor
    came_from: Tensor
    agreement: Tensor
    has_motion: Tensor


class BatchWork:
    """What is known of up to `count` objects, and all that is done with it.

    Args:
        count: of rows.
        shape: of the frames.
        settings: the constants.
        device: where it is done; recorded, if that is a GPU.
    """

    def __init__(
        self, count: int, shape: FrameShape, settings: TrackerSettings, device: torch.device
    ) -> None:
        self.shape = shape
        self.rows = Rows.blank(count, shape, device)
        self._outlook = BatchOutlook(self.rows, shape, settings)
        finder = BatchFinder(self.rows, shape, settings)
        learner = BatchLearner(self.rows, shape, settings)
        as_graph = device.type == "cuda"
        pool = torch.cuda.graph_pool_handle() if as_graph else None
        frame, image, answers, choice = _examples(count, shape, device)
        # Recorded while the rows are blank and none is followed: nothing is known yet that this could spoil.
        self._look_ahead = Replay(self._outlook.look_ahead, frame, as_graph, pool)
        ahead = Ahead(*self._look_ahead(*frame))
        self._find = Replay(finder.find, (image, *answers, choice, *ahead), as_graph, pool)
        self._learn = Replay(
            learner.learn, (frame.coarse, frame.detail, ahead.as_shown, choice), as_graph, pool
        )

    def look_ahead(self, frame: FrameTensors) -> tuple[Ahead, PromptBatch]:
        """Where all rows' objects should be, and what the decoder is to be asked."""
        ahead = Ahead(*self._look_ahead(*frame))
        return ahead, self._outlook.prompts(ahead)

    def find(
        self, image: Tensor, answers: tuple[Tensor, Tensor], is_followed: Tensor, ahead: Ahead
    ) -> BatchFound:
        """The objects' masks; see `BatchFinder.find`."""
        return BatchFound(*self._find(image, *answers, is_followed, *ahead))

    def learn(self, frame: FrameTensors, ahead: Ahead, found: BatchFound) -> None:
        """What this frame teaches; see `BatchLearner.learn`."""
        self._learn(frame.coarse, frame.detail, ahead.as_shown, found.learns)


def _examples(
    count: int, shape: FrameShape, device: torch.device
) -> tuple[FrameTensors, Tensor, tuple[Tensor, Tensor], Tensor]:
    """Tensors like those of a frame: of its own, its image, the decoder's answers, a choice of rows."""

    def blank(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(size, dtype=dtype, device=device)

    coarse_channels, detail_channels = shape.channels
    frame = FrameTensors(
        coarse=blank(*shape.coarse_hw, coarse_channels),
        detail=blank(detail_channels, *shape.grid_hw),
        came_from=blank(*shape.low_res_hw, 2),
        agreement=blank(*shape.low_res_hw),
        has_motion=blank(1, dtype=torch.bool),
    )
    image = blank(1, 3, *shape.original_hw, dtype=torch.uint8)
    answers = (blank(2 * count, NUM_MASK_TOKENS, *shape.low_res_hw), blank(2 * count, NUM_MASK_TOKENS))
    return frame, image, answers, blank(count, dtype=torch.bool)
