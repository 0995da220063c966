"""How well masks agree: J (region IoU), F (boundary F-measure) and J&F by the DAVIS definitions.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .types import BoolMask

BOUNDARY_TOLERANCE = 0.008  # of the image diagonal, as DAVIS
RECALL_THRESHOLD = 0.5
DECAY_BINS = 4


def region_iou(truth: BoolMask, mask: BoolMask) -> float:
    """J of two masks (H, W); 1 where both are empty.

    Raises:
        ValueError: the shapes differ.
    """
    _check_same_shape(truth, mask)
    union = np.count_nonzero(truth | mask)
    return float(np.count_nonzero(truth & mask) / union) if union else 1.0


def boundary_f(truth: BoolMask, mask: BoolMask, tolerance: float = BOUNDARY_TOLERANCE) -> float:
    """F of two masks (H, W): F-measure of contour pixels matched within `tolerance` of the diagonal.

    Raises:
        ValueError: the shapes differ.
    """
    _check_same_shape(truth, mask)
    radius_px = int(np.ceil(tolerance * np.linalg.norm(truth.shape))) if tolerance < 1 else int(tolerance)
    truth_edge, mask_edge = boundary(truth), boundary(mask)
    n_truth, n_mask = np.count_nonzero(truth_edge), np.count_nonzero(mask_edge)
    if not n_truth or not n_mask:
        return float(n_truth == n_mask)
    disk = _disk(radius_px)
    matched_mask = np.count_nonzero(mask_edge & (cv2.dilate(truth_edge.view(np.uint8), disk) > 0))
    matched_truth = np.count_nonzero(truth_edge & (cv2.dilate(mask_edge.view(np.uint8), disk) > 0))
    precision, recall = matched_mask / n_mask, matched_truth / n_truth
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def boundary(mask: BoolMask) -> BoolMask:
    """Pixels (H, W) whose right, lower or lower-right neighbour is on the other side of the contour."""
    east, south, southeast = mask.copy(), mask.copy(), mask.copy()
    east[:, :-1] = mask[:, 1:]
    south[:-1] = mask[1:]
    southeast[:-1, :-1] = mask[1:, 1:]
    edge = (mask ^ east) | (mask ^ south) | (mask ^ southeast)
    edge[-1] = mask[-1] ^ east[-1]
    edge[:, -1] = mask[:, -1] ^ south[:, -1]
    return edge


def _disk(radius_px: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[-radius_px : radius_px + 1, -radius_px : radius_px + 1]
    disk: NDArray[np.uint8] = (x**2 + y**2 <= radius_px**2).astype(np.uint8)
    return disk


def _check_same_shape(truth: BoolMask, mask: BoolMask) -> None:
    if truth.shape != mask.shape:
        raise ValueError(f"masks must have one shape, got {truth.shape} and {mask.shape}")


@dataclass(frozen=True, slots=True)
class Statistics:
    """DAVIS's three figures of one measure over a sequence."""

    mean: float
    recall: float  # share of frames above 0.5
    decay: float  # mean of the first quarter minus that of the last


def statistics(scores: Sequence[float]) -> Statistics:
    """Mean, recall and decay of per-frame scores of one object in one sequence.

    Raises:
        ValueError: there are no scores.
    """
    values = np.asarray(scores, np.float64)
    if not values.size:
        raise ValueError("no frames to score: a sequence needs at least three")
    edges = np.round(np.linspace(1, values.size, DECAY_BINS + 1) + 1e-10).astype(int) - 1
    first, last = values[edges[0] : edges[1] + 1], values[edges[-2] : edges[-1] + 1]
    recall = float(np.mean(values > RECALL_THRESHOLD))
    return Statistics(float(values.mean()), recall, float(first.mean() - last.mean()))
