"""Arrays sent to a device and fetched from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from maskstream.model.device_copies import Fetched, send
from numpy.typing import NDArray

HERE = torch.device("cpu")
ARRAYS = [
    np.array([True, False]),
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.zeros((2, 2, 3), np.uint8),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype))
def test_what_is_sent_comes_back(array: NDArray[np.generic]) -> None:
    array.setflags(write=False)
    sent = send(array, HERE)
    found, again = Fetched(sent, sent).wait()
    for one in (found, again):
        assert one.dtype == array.dtype
        np.testing.assert_array_equal(one, array)


def test_what_was_fetched_is_the_callers_own() -> None:
    tensor = torch.zeros(3)
    [found] = Fetched(tensor).wait()
    tensor.fill_(1)
    assert found.tolist() == [0, 0, 0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_on_a_gpu_too() -> None:
    sent = [send(array, torch.device("cuda")) for array in ARRAYS]
    assert all(one.is_cuda for one in sent)
    fetched = Fetched(*sent)
    sent[1].add_(1)  # on its way already
    for found, array in zip(fetched.wait(), ARRAYS, strict=True):
        np.testing.assert_array_equal(found, array)
