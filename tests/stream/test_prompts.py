from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from maskstream.model.errors import PromptError
from maskstream.model.types import Prompt
from maskstream.stream.commands import NOW, Show
from maskstream.stream.prompts import parse_prompts, parse_time_s, schedule_prompts, show_command
from maskstream.stream.settings import Placed
from PIL import Image

PICTURE_HW = (100, 200)


def scheduled(*specs):
    return schedule_prompts(parse_prompts(specs), PICTURE_HW)


def one(*specs):
    (only,) = scheduled(*specs)
    return only


def saved(path, pixels, mode=None, palette=None):
    image = Image.fromarray(np.asarray(pixels, np.uint8), mode)
    if palette:
        image.putpalette(palette)
    image.save(path)
    return path


def test_a_box_from_the_start():
    only = one("1:box=10,20.5,30,40")
    assert only.time_s == 0
    assert only.prompt.object_id == 1
    assert only.prompt.box_xyxy.tolist() == [10, 20.5, 30, 40]
    assert not len(only.prompt.points_xy)


def test_points_of_one_object_join_and_refine_its_box():
    only = one("3:point=10,20", "3:negative=30,40", "3:box=0,0,50,50", "3:point=11,21")
    assert only.prompt.points_xy.tolist() == [[10, 20], [30, 40], [11, 21]]
    assert only.prompt.point_labels.tolist() == [1, 0, 1]
    assert only.prompt.box_xyxy.tolist() == [0, 0, 50, 50]


def test_percent_of_the_pictures_sides():
    only = one("1:box=25%,50%,100%,100%", "1:point=50%,50")
    assert only.prompt.box_xyxy.tolist() == [50, 50, 200, 100]
    assert only.prompt.points_xy.tolist() == [[100, 50]]


def test_times_sort_the_schedule_and_keep_one_objects_prompts_apart():
    plan = scheduled("2:point=1,1@1:05", "1:point=2,2@65", "1:point=3,3", "1:point=4,4@0:00:02.5")
    assert [(item.time_s, item.prompt.object_id) for item in plan] == [(0, 1), (2.5, 1), (65, 2), (65, 1)]


def test_removals_and_renamings_come_in_the_order_they_are_written():
    plan = scheduled(
        "2:rename=5@14", "1:point=1,1", "2:box=1,1,9,9", "1:remove@12", "2:box=1,1,9,9@14", "1:box=1,1,5,5@12"
    )
    assert [(item.time_s, item.what) for item in plan] == [
        (0, "prompt of object 1"),
        (0, "prompt of object 2"),
        (12, "removal of object 1"),
        (12, "prompt of object 1"),
        (14, "renaming of object 2 to 5"),
        (14, "prompt of object 2"),
    ]


def test_other_commands_belong_to_the_schedule():
    others = [Show(Prompt(4, box_xyxy=[0, 0, 5, 5]), time_s=3)]
    plan = schedule_prompts(parse_prompts(["4:remove@5"]), PICTURE_HW, others)
    assert [item.what for item in plan] == ["prompt of object 4", "removal of object 4"]


def test_one_object_may_be_shown_at_once():
    shown = show_command(["3:box=0,0,50%,50", "3:negative=3,4"], PICTURE_HW)
    assert (shown.when, shown.prompt.box_xyxy.tolist()) == (NOW, [0, 0, 100, 50])
    assert show_command(["3:box=0,0,5,5@1:00"], PICTURE_HW).time_s == 60
    for specs in (["3:remove@3"], ["3:point=1,1", "4:point=1,1"], ["3:point=1,1", "3:point=1,1@2"], []):
        with pytest.raises(PromptError, match="show one object at one time"):
            show_command(specs, PICTURE_HW)


def test_a_prompt_from_a_file_knows_its_line():
    for spec in ("1:bax=1", "1:point=200,5", "1:mask=missing.png", "1:remove@3"):
        with pytest.raises(PromptError, match=r"^run.yaml:7: prompts\[2\]: ") as caught:
            scheduled(Placed(spec, "run.yaml:7: prompts[2]"))
        assert str(caught.value).count("run.yaml") == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("2.5", 2.5), (".5", 0.5), ("1:30", 90), ("1:02:03.25", 3723.25), ("90", 90)],
)
def test_ways_to_write_a_time(text, seconds):
    assert parse_time_s(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "nan", "1:2:3:4", "soon", "1e3", ":", "1:"])
def test_no_times(text):
    with pytest.raises(ValueError, match="is not a time"):
        parse_time_s(text)


def test_mask_is_any_non_zero_pixel(tmp_path):
    drawn = np.zeros(PICTURE_HW, np.uint8)
    drawn[10:20, 30:50] = 7
    path = saved(tmp_path / "cup.png", drawn)
    assert np.array_equal(one(f"2:mask={path}").prompt.mask, drawn > 0)


@pytest.mark.parametrize(("object_id", "pixels"), [(1, 6), (2, 4), (9, 10)])
def test_an_indexed_mask_gives_the_objects_own_index_where_it_occurs(tmp_path, object_id, pixels):
    drawn = np.zeros(PICTURE_HW, np.uint8)
    drawn[0, :6], drawn[1, :4] = 1, 2
    path = saved(tmp_path / "davis.png", drawn, "P", [0, 0, 0, 128, 0, 0, 0, 128, 0])
    mask = one(f"{object_id}:mask={path}").prompt.mask
    assert mask.dtype == np.bool_
    assert np.count_nonzero(mask) == pixels


def test_a_cut_out_picture_is_masked_by_its_alpha(tmp_path):
    drawn = np.full((*PICTURE_HW, 4), 255, np.uint8)
    drawn[:, 10:, 3] = 0
    drawn[50:, :, :3] = 0
    path = saved(tmp_path / "cutout.png", drawn)
    mask = one(f"1:mask={path}").prompt.mask
    assert mask[:50, :10].all()
    assert np.count_nonzero(mask) == 500


def test_an_at_sign_in_a_mask_files_name_is_no_time(tmp_path):
    path = saved(tmp_path / "me@home.png", np.ones(PICTURE_HW))
    assert one(f"1:mask={path}").time_s == 0
    assert one(f"1:mask={path}@3").time_s == 3


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["box=1,2,3,4"], "'box=1,2,3,4' is malformed: write ID:KIND=VALUE"),
        (["1:box"], "is malformed"),
        ([""], "is malformed"),
        (["x:box=1,2,3,4"], "object id must be a whole number in 1..65535, got 'x'"),
        (["0:box=1,2,3,4"], "got '0'"),
        (["1:bx=1,2,3,4"], "unknown kind 'bx', did you mean 'box'?"),
        (["1:zzz=1"], "known kinds are box, point, negative, mask, remove, rename"),
        (["1:remov@3"], "unknown kind 'remov', did you mean 'remove'?"),
        (["1:remove=2"], "to remove takes no value: write 1:remove@TIME"),
        (["1:remove@soon"], "'soon' is not a time"),
        (["1:remove@3"], "removal of object 1: it is not shown before"),
        (["1:rename"], "is malformed"),
        (["1:rename=x@3"], "object id must be a whole number in 1..65535, got 'x'"),
        (["1:point=1,1", "2:point=1,1", "1:rename=2@3"], "renaming of object 1 to 2: that id is in use then"),
        (["1:box=1,2,3"], "box needs numbers x0,y0,x1,y1, got '1,2,3'"),
        (["1:box=1,2,3,four"], "box needs numbers x0,y0,x1,y1, got '1,2,3,four'"),
        (["1:point=1,2,3"], "point needs numbers x,y, got '1,2,3'"),
        (["1:point="], "point needs numbers x,y, got ''"),
        (["1:point=1,2@soon"], "'soon' is not a time: write seconds, M:SS or H:MM:SS"),
        (["1:box=nan,2,3,4"], "prompt 1: box must be 4 finite numbers"),
        (["1:point=inf,2"], "prompt 1: points_xy must be finite"),
        (["1:box=30,2,3,4"], "prompt 1: box must have x0 < x1 and y0 < y1"),
        (["1:box=10,10,201,20"], "prompt 1: box [10.0, 10.0, 201.0, 20.0] reaches outside the picture"),
        (["1:point=200,5"], "prompt 1: point [[200.0, 5.0]] is off the picture; the picture is 200x100 px"),
        (["1:point=5,5", "2:point=-1,5"], "prompt 2: point"),
        (["1:point=5,5", "2:point=5,101%@9"], "prompt 2: point"),
        (["1:box=1,2,3,4", "1:box=1,2,3,5"], "'1:box=1,2,3,4' and '1:box=1,2,3,5' give object 1 two of box"),
        (["1:mask=a.png", "1:point=3,4"], "a mask already says all about object 1"),
        (["1:negative=1,2"], "object 1 needs a point or a box"),
        (["1:mask=missing.png"], "'1:mask=missing.png': cannot read mask file missing.png: No such file"),
    ],
)  # fmt: skip
def test_a_bad_prompt_is_named_and_put_right(specs, message):
    with pytest.raises(PromptError, match=re.escape(message)) as caught:
        scheduled(*specs)
    assert "\n" not in str(caught.value)


def test_an_empty_mask_and_one_of_the_wrong_size_and_no_picture_are_refused(tmp_path):
    empty = saved(tmp_path / "empty.png", np.zeros(PICTURE_HW))
    with pytest.raises(PromptError, match=r"the mask is empty: .*empty\.png has no non-zero pixel"):
        scheduled(f"1:mask={empty}")
    small = saved(tmp_path / "small.png", np.ones((50, 60)))
    with pytest.raises(PromptError, match="prompt 1: mask is 60x50 px but the picture is 200x100 px"):
        scheduled(f"1:mask={small}")
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    with pytest.raises(PromptError, match=r"cannot read mask file .*text\.png: it is not a picture"):
        scheduled(f"1:mask={text}")
    cut = tmp_path / "cut.png"
    cut.write_bytes(empty.read_bytes()[:45])
    with pytest.raises(PromptError, match=r"cannot read mask file .*cut\.png"):
        scheduled(f"1:mask={cut}")


@settings(max_examples=200, deadline=None, derandomize=True)
@example("1:point=1_0,2")
@example("1:mask=\0")
@given(
    st.one_of(
        st.text(max_size=20),
        st.from_regex(r"[0-9]{1,2}:(box=|point=|mask=|remove|rename=)[0-9.,@:%a-]{0,12}", fullmatch=True),
    )
)
def test_any_text_is_a_prompt_or_a_prompt_error(text):
    try:
        scheduled(text)
    except PromptError as error:
        assert str(error)
