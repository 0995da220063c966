"""When a mask is the object, and how good it then is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from maskstream.model.finder import FinderSettings, find_all, rest_of
from maskstream.model.outlook import Outlook
from maskstream.model.soft_masks import share_of
from maskstream.model.types import ImageEmbedding, MaskPrediction

EMBEDDING = ImageEmbedding(torch.zeros(1, 256, 16, 16), (256, 256), (256, 256), (256, 256))


def _disc(radius_px, clearness=1.0):
    """A soft disc on a grid of 64x64, as clear inside (2p - 1) and outside as that."""
    rows, columns = np.mgrid[:64, :64] - 31.5
    inside = np.hypot(rows, columns) < radius_px
    return np.where(inside, (1 + clearness) / 2, (1 - clearness) / 2).astype(np.float32)


class _Decoder:
    """Answers every prompt with the same mask."""

    def __init__(self, soft):
        self._soft = soft

    def decode_all(self, embedding, prompts):
        logits = torch.logit(torch.from_numpy(self._soft), eps=1e-6).expand(len(prompts), 4, -1, -1)
        return MaskPrediction(logits, torch.ones(len(prompts), 4))


def _find(soft_map, answer, *, is_search, usual_share=0.0):
    nothing = np.zeros_like(soft_map)
    outlook = Outlook(soft_map, nothing, nothing, torch.zeros(32, 32), is_search, usual_share)
    [found] = find_all([outlook], EMBEDDING, _Decoder(answer), FinderSettings())
    return found


def test_what_decoder_and_map_agree_on_is_the_object():
    found = _find(_disc(10), _disc(10), is_search=True)
    assert (found.soft > 0.5).sum() == (_disc(10) > 0.5).sum()
    assert found.likeness > 0.99


@pytest.mark.parametrize(("radius_px", "seen"), [(10, (True, True)), (7, (True, False)), (3, (False, False))])
def test_a_find_has_to_convince_more_than_what_was_followed(radius_px, seen):
    answers = [_find(_disc(10), _disc(radius_px), is_search=which).is_seen for which in (False, True)]
    assert tuple(answers) == seen


@pytest.mark.parametrize(("times", "seen"), [(1, True), (2, True), (4, False), (40, False)])
def test_the_rest_of_an_object_has_to_convince_more(times, seen):
    dim = _disc(10, 0.25)  # of a likeness of 0.25
    usual_share = times * (dim > 0.5).mean()
    assert _find(dim, dim, is_search=False, usual_share=usual_share).is_seen is seen


def test_what_leaves_the_picture_is_no_rest():
    leaving = np.roll(_disc(10), -24, axis=1)
    assert rest_of(_disc(10), 1.0, (256, 256)) == 1
    assert rest_of(leaving, 1.0, (256, 256)) == 0
    assert rest_of(leaving, 1.0, (256, 300)) == 0
    assert rest_of(np.roll(_disc(10), 8, axis=0), 1.0, (196, 256)) == 0  # below are rows of padding


def test_between_half_and_a_quarter_is_partly_a_rest():
    disc = _disc(10)
    assert rest_of(disc, share_of(disc) / 0.375, (256, 256)) == pytest.approx(0.5)
    assert rest_of(disc, 0.0, (256, 256)) == 0  # nobody knows how large it was


def test_an_unclear_mask_is_not_the_object():
    assert not _find(_disc(10, 0.1), _disc(10, 0.1), is_search=False).is_seen


def test_what_is_hardly_the_object_is_followed_unseen_but_no_find():
    followed, searched = (_find(_disc(10), _disc(3), is_search=which) for which in (False, True))
    assert not followed.is_seen
    assert followed.quality == 0
    assert (followed.soft > 0.5).any()
    assert not searched.soft.any()


def test_a_small_object_is_seen_and_not_vouched_for():
    """A pixel more or less of few is much, however sure it is that this is the object."""
    small, large = (_find(_disc(radius), _disc(radius), is_search=True) for radius in (2, 20))
    assert small.is_seen
    assert small.quality < 0.6 < 0.9 < large.quality
    assert replace(small, soft=np.zeros_like(small.soft)).quality == 0


def test_nothing_where_the_map_has_nothing():
    found = _find(np.zeros((64, 64), np.float32), _disc(10), is_search=False)
    assert not found.is_seen
    assert found.quality == 0
