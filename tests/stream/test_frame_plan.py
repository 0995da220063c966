from __future__ import annotations

import re

import numpy as np
import pytest
from maskstream.model.errors import PromptError
from maskstream.model.types import Prompt
from maskstream.stream.commands import Detections, Remove, Rename, Show, check_schedule
from maskstream.stream.frame_plan import MAX_ID, MAX_OBJECTS, FramePlan, match_boxes

HW = (100, 200)
BOX = np.array([10, 10, 50, 50], np.int32)
UNSEEN = np.zeros(4, np.int32)


def plan(**boxes):
    return FramePlan(HW, {int(name[1:]): box for name, box in boxes.items()})


def box(object_id, xyxy=(10, 10, 50, 50), **more):
    return Show(Prompt(object_id, box_xyxy=xyxy), **more)


def click(object_id, x, y, label=1, **more):
    return Show(Prompt(object_id, points_xy=[[x, y]], point_labels=[label]), **more)


def outcome(made):
    """Edits, ids to be shown, ids that are followed afterwards."""
    edits = [(type(edit).__name__, edit.object_id) for edit in made.edits]
    return edits, [prompt.object_id for prompt in made.prompts], made.object_ids


def done(made, *commands):
    for command in commands:
        made.add(command)
    return outcome(made)


def test_showing_adds_or_corrects():
    made = plan(o1=BOX)
    assert (made.add(box(2)), made.add(click(1, 5, 5))) == ((2,), (1,))
    assert outcome(made) == ([], [2, 1], (1, 2))


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([Remove(1)], ([("Remove", 1)], [], ())),
        ([Rename(1, 5)], ([("Rename", 1)], [], (5,))),
        ([Remove(1), box(1)], ([("Remove", 1)], [1], (1,))),  # another thing under its id
        ([box(1), Remove(1)], ([("Remove", 1)], [], ())),
        ([box(2), Remove(2)], ([], [], (1,))),
        ([Rename(1, 5), box(1)], ([("Rename", 1)], [1], (1, 5))),
        ([box(1), Rename(1, 5)], ([("Rename", 1)], [5], (5,))),
        ([box(2), Rename(2, 5)], ([], [5], (1, 5))),
        ([Rename(1, 5), Rename(5, 6), Remove(6)], ([("Rename", 1), ("Rename", 5), ("Remove", 6)], [], ())),
    ],
)
def test_commands_on_one_frame_are_done_one_after_the_other(commands, expected):
    assert done(plan(o1=BOX), *commands) == expected


def test_what_is_shown_at_one_moment_joins():
    made = plan(o1=BOX)
    done(made, click(1, 20, 20), click(1, 30, 30, label=0), box(1))
    (prompt,) = made.prompts
    assert prompt.points_xy.tolist() == [[20, 20], [30, 30]]
    assert prompt.point_labels.tolist() == [1, 0]
    assert prompt.box_xyxy.tolist() == [10, 10, 50, 50]


def test_of_two_moments_that_fall_on_one_frame_the_later_counts():
    made = plan(o1=BOX)
    done(made, click(1, 20, 20, time_s=1.0), click(1, 30, 30, time_s=1.02))
    assert made.prompts[0].points_xy.tolist() == [[30, 30]]


def test_a_mask_says_all():
    mask = np.ones(HW, bool)
    made = plan(o1=BOX)
    done(made, click(1, 20, 20), Show(Prompt(1, mask=mask)))
    assert made.prompts[0].mask is mask
    assert not len(made.prompts[0].points_xy)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (Remove(2), "object 2 is not tracked; tracked are: 1, 3"),
        (Rename(2, 5), "object 2 is not tracked"),
        (Rename(1, 3), "object 3 is tracked already; use another id, or remove it first"),
        (Rename(1, 0), "object_id must be in 1..65535, got 0"),
        (Rename(1, MAX_ID + 1), "got 65536"),
        (box(1, known=False), "object 1 is tracked already; correct it, or use another id"),
        (box(2, known=True), "object 2 is not tracked"),
        (box(2, (10, 10, 201, 20)), "prompt 2: box [10.0, 10.0, 201.0, 20.0] reaches outside the picture"),
        (click(2, 5, 100), "prompt 2: point [[5.0, 100.0]] is off the picture"),
        (Show(Prompt(2, mask=np.ones((5, 5), bool))), "mask is 5x5 px but the picture is 200x100 px"),
        (click(2, 5, 5, label=0), "object 2 is not seen, so negative points do not say where it is"),
        (click(3, 5, 5, label=0), "object 3 is not seen"),
        (Detections([[10, 10, 20, 20], [300, 10, 310, 20]]), "is beside the picture, which is 200x100 px"),
        (Detections([[i % 200, 0, i % 200 + 1, 1 + i // 200] for i in range(MAX_OBJECTS)]), "is the most"),
    ],
)  # fmt: skip
def test_what_is_refused_changes_nothing(command, complaint):
    made = plan(o1=BOX, o3=UNSEEN)
    with pytest.raises(PromptError, match=re.escape(complaint)):
        made.add(command)
    assert outcome(made) == ([], [], (1, 3))
    assert made.highest_id == 3


def test_negative_points_alone_correct_what_is_seen():
    assert done(plan(o1=BOX), click(1, 20, 20, label=0)) == ([], [1], (1,))


def test_there_is_an_end_to_objects():
    made = FramePlan(HW, dict.fromkeys(range(1, MAX_OBJECTS + 1), BOX))
    with pytest.raises(PromptError, match="256 objects are tracked, and 256 is the most; remove some"):
        made.add(box(300))
    made.add(click(1, 5, 5))
    made.add(Remove(2))
    made.add(box(300))


# ---- a detector's boxes


def test_a_detectors_boxes_find_their_objects_and_begin_others():
    made = plan(o1=BOX, o7=np.array([100, 10, 140, 50], np.int32))
    ids = made.add(Detections([[102, 12, 141, 52], [60, 60, 80, 80], [11, 9, 50, 51]]))
    assert ids == (7, 8, 1)
    assert outcome(made) == ([], [8], (1, 7, 8))
    assert made.prompts[0].box_xyxy.tolist() == [60, 60, 80, 80]


def test_they_may_refresh_and_replace():
    made = plan(o1=BOX, o7=np.array([100, 10, 140, 50], np.int32))
    ids = made.add(Detections([[11, 9, 50, 51], [150, 60, 250, 150]], refresh=True, replace=True))
    assert ids == (1, 8)
    assert outcome(made) == ([("Remove", 7)], [1, 8], (1, 8))
    assert made.prompts[1].box_xyxy.tolist() == [150, 60, 200, 100]  # as far as it is in the picture


def test_what_is_shown_on_the_same_frame_is_known_to_the_detector():
    made = plan()
    made.add(box(4))
    assert made.add(Detections([[11, 9, 50, 51]])) == (4,)


def test_ids_are_not_used_again_before_all_were_in_use():
    made = FramePlan(HW, {1: BOX}, highest_id=9)
    assert made.add(Detections([[60, 60, 80, 80]])) == (10,)
    made = FramePlan(HW, {1: BOX}, highest_id=MAX_ID)
    assert made.add(Detections([[60, 60, 80, 80], [100, 60, 120, 80]])) == (2, 3)


def test_an_object_gets_one_box_the_best():
    boxes = np.array([[10, 10, 50, 45], [10, 10, 50, 49], [0, 0, 5, 5]], np.float32)
    assert match_boxes(boxes, {1: BOX, 2: UNSEEN}, 0.5) == [None, 1, None]
    assert match_boxes(boxes[:0], {1: BOX}, 0.5) == []


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"boxes_xyxy": [[5, 5, 1, 9]]}, "x0 < x1 and y0 < y1"),
        ({"boxes_xyxy": [[5, 5, np.nan, 9]]}, "finite"),
        ({"boxes_xyxy": [[5, 5, 9, 9]], "least_iou": 0}, "least_iou must be above 0"),
    ],
)
def test_no_detections(values, complaint):
    with pytest.raises(PromptError, match=complaint):
        Detections(**values)


# ---- schedules


@pytest.mark.parametrize(
    ("commands", "complaint"),
    [
        ([Remove(1)], "removal of object 1: it is not shown before; tracked then are: none"),
        ([box(2), Rename(1, 3)], "renaming of object 1 to 3: it is not shown before; tracked then are: 2"),
        ([box(1), Remove(1), Remove(1)], "removal of object 1: it is not shown before"),
        ([box(1), box(2), Rename(1, 2)], "renaming of object 1 to 2: that id is in use then"),
    ],
)
def test_a_schedule_that_cannot_be_kept_is_refused(commands, complaint):
    with pytest.raises(PromptError, match=complaint):
        check_schedule(commands)


def test_a_schedule_that_can_be_kept():
    check_schedule([box(1), Rename(1, 2), box(1), Remove(2), Rename(1, 2), box(2)])
