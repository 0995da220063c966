from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from maskstream.model.errors import SourceError
from maskstream.stream.scenes import Scene, Thing, away, bounce, still, straight, switch
from maskstream.stream.sources import open_source
from maskstream.stream.synthetic import SCENES, SyntheticSettings, SyntheticSource

SEEN = 40  # colour levels that a thing differs from its backdrop by, on average


def test_a_spec_with_everything():
    spec = "synthetic:scene=crossing,objects=2,frames=5,width=160,height=96,fps=30000/1001,seed=3"
    with open_source(spec, source_id="test") as source:
        frames = list(source)
    info = source.info
    assert (info.width_px, info.height_px, info.frame_count) == (160, 96, 5)
    assert (info.frame_rate, info.is_live, info.source_id) == (Fraction(30000, 1001), False, "test")
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(1001 * n, 30000) for n in range(5)]
    assert {frame.image.shape for frame in frames} == {(96, 160, 3)}
    assert set(source.truth(0)) == {1, 2}


def test_the_defaults_and_live():
    with open_source("synthetic", max_frames=2) as source:
        assert source.info.frame_count == 2
        assert len(list(source)) == 2
    with open_source("synthetic:live=1,fps=200,frames=4") as live:
        assert live.info.is_live
        assert len(list(live)) == 4


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("synthetic:objets=3", "unknown key 'objets', did you mean 'objects'?"),
        ("synthetic:zzz", "unknown key 'zzz'; known: scene, objects, "),
        ("synthetic:frames=many", "frames must be a number, got 'many'"),
        ("synthetic:frames=0", "frames must be at least 1, got 0"),
        ("synthetic:fps=1/0", "fps must be a number, got '1/0'"),
        ("synthetic:live=maybe", "live must be 0 or 1, got 'maybe'"),
        ("synthetic:scene=crosing", "unknown scene 'crosing', did you mean 'crossing'?"),
    ],
)
def test_a_spec_that_does_not_fit(spec, message):
    with pytest.raises(SourceError) as caught:
        open_source(spec)
    assert message in str(caught.value)


@pytest.mark.parametrize("scene", SCENES)
def test_masks_are_exact(scene):
    """Where no mask is, the picture is the bare backdrop; where one is, it is that thing's own picture."""
    source = SyntheticSource(SyntheticSettings(scene=scene, frames=20))
    bare = Scene(320, 240, (), source.scene.backdrop_at, source.scene.seed)
    for frame in source:
        masks = source.truth(frame.index)
        backdrop = bare.image_at(frame.index / 30)
        union = np.zeros((240, 320), bool)
        for mask in masks.values():
            assert not (mask & union).any()
            union |= mask
        np.testing.assert_array_equal(frame.image[~union], backdrop[~union])
        for mask in masks.values():
            if mask.any():
                difference = np.abs(frame.image[mask].astype(int) - backdrop[mask]).max(axis=1)
                assert difference.mean() > SEEN


def test_the_same_spec_gives_the_same_video():
    first, second, other = (SyntheticSource(SyntheticSettings(seed=seed, frames=3)) for seed in (1, 1, 2))
    for one, two, three in zip(first, second, other, strict=True):
        np.testing.assert_array_equal(one.image, two.image)
        assert (one.image != three.image).any()


def test_things_are_textured_and_carry_their_number():
    pictures = [Thing(number, still(0, 0), (48, 48), "box").picture for number in (1, 2)]
    for picture in pictures:
        assert picture.std(axis=(0, 1)).max() > 15
        assert (picture.min(axis=2) > 250).any()  # the white number
    assert (pictures[0] != pictures[1]).any()


def areas(scene, object_id):
    source = SyntheticSource(SyntheticSettings(scene=scene))
    return np.array([source.truth(index)[object_id].sum() for index in range(100)])


def test_crossing_hides_one_behind_another_and_shows_it_again():
    area = areas("crossing", 1)
    assert area[0] == area[-1] == area.max()
    assert area.min() < 0.6 * area.max()
    assert (areas("crossing", 3) == areas("crossing", 3).max()).all()  # the last one is always in front


def test_leaving_is_gone_for_a_while_and_comes_back():
    seen = areas("leaving", 1) > 0
    assert seen[0]
    assert seen[-1]
    assert 5 < (~seen).sum() < 60
    assert np.abs(np.diff(seen.astype(int))).sum() == 2  # one way out, one way in


def test_a_cut_shows_another_place_without_the_objects():
    source = SyntheticSource(SyntheticSettings(scene="cut"))
    gone = [not any(mask.any() for mask in source.truth(index).values()) for index in range(100)]
    assert gone == [40 <= index < 70 for index in range(100)]
    images = [source.scene.image_at(index / 30).astype(int) for index in (39, 40, 69, 70)]
    steps = [np.abs(b - a).mean() for a, b in zip(images, images[1:], strict=False)]
    assert steps[0] > 20
    assert steps[1] == 0
    assert steps[2] > 20


def test_a_jump_puts_the_objects_elsewhere():
    source = SyntheticSource(SyntheticSettings(scene="jump"))
    for object_id in (1, 2, 3):
        before, after = (source.truth(index)[object_id] for index in (49, 50))
        assert before.any()
        assert after.any()
        assert not (before & after).any()


def test_prompts_mark_what_is_seen():
    source = SyntheticSource(SyntheticSettings(scene="cut"))
    truth = source.truth(0)
    for kind in ("box", "point", "mask"):
        prompts = source.prompts(kind=kind)
        assert [prompt.object_id for prompt in prompts] == [1, 2, 3]
        for prompt in prompts:
            prompt.check_inside((240, 320))
            mask = truth[prompt.object_id]
            if kind == "box":
                x0, y0, x1, y1 = prompt.box_xyxy.astype(int)
                assert mask[y0:y1, x0:x1].sum() == mask.sum()
            elif kind == "point":
                ((x, y),) = prompt.points_xy.astype(int)
                assert mask[y, x]
            else:
                np.testing.assert_array_equal(prompt.mask, mask)
    assert source.prompts(index=50) == []


def test_paths():
    assert still(3, 4)(99) == (3, 4)
    assert straight((0, 10), (5, -1))(2) == (10, 8)
    ball = bounce((10, 10), (10, 0), (0, 0, 30, 30))
    assert [ball(t)[0] for t in (0, 1, 2, 3, 4, 5, 6)] == pytest.approx([10, 20, 30, 20, 10, 0, 10])
    gone = away(still(1, 1), 2, 3)
    assert [gone(t) for t in (1.9, 2, 2.9, 3)] == [(1, 1), None, None, (1, 1)]
    assert [switch(still(1, 1), still(2, 2), 5)(t) for t in (4.9, 5)] == [(1, 1), (2, 2)]


def test_a_scene_of_ones_own():
    thing = Thing(7, straight((-10, 20), (30, 0)), (20, 20), "disc")
    scene = Scene(64, 40, (thing,), backdrop_at=lambda time_s: 0)
    settings = SyntheticSettings(frames=4, fps=Fraction(1))
    with SyntheticSource(settings, scene=scene) as source:
        assert len(list(source)) == 4
        assert (source.info.width_px, source.info.height_px) == (64, 40)
    columns = [source.truth(index)[7].any(axis=0).nonzero()[0] for index in range(4)]
    assert columns[0].size == 0
    assert (columns[1].min(), columns[1].max()) == (10, 29)
    assert (columns[2].min(), columns[2].max()) == (40, 59)
    assert columns[3].size == 0
    assert 0.95 < source.truth(1)[7].sum() / (np.pi * 100) < 1.05


def test_an_object_id_above_nine_is_whole_and_a_tiny_picture_works():
    source = SyntheticSource(SyntheticSettings(objects=12, width=16, height=16, frames=2))
    assert set(source.truth(0)) == set(range(1, 13))
    assert len(list(source)) == 2
