from __future__ import annotations

import dataclasses

import pytest


def test_masks_are_as_large_as_their_frame(make_result):
    small, large = make_result(hw=(48, 64)), make_result(hw=(96, 64))
    with pytest.raises(ValueError, match=r"object 1 must be \(96, 64\) as its frame is, got \(48, 64\)"):
        dataclasses.replace(large, objects=small.objects)
