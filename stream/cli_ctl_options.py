"""What may be written after `maskstream ctl`. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
from pathlib import Path

CTL_EXAMPLES = """\
Steers a run that was started with --control. What is asked for takes effect on the next frame that is looked
at, or at a time; the answer names the first frame in effect. What cannot be done is refused, and changes
nothing.

examples:
  maskstream run webcam --control tcp://127.0.0.1:5556 --sink video=out.mp4
  maskstream ctl add 2:box=100,80,300,400
  maskstream ctl add 3:point=50%,50% 3:negative=10%,10% --time 0:30
  maskstream ctl correct 2:negative=120,100
  maskstream ctl rename 2 7
  maskstream ctl remove 7
  maskstream ctl detections 100,80,300,400 310,90,350,160 --replace
  maskstream ctl list
"""


def add_ctl_options(ctl: argparse.ArgumentParser, make: type[argparse.ArgumentParser]) -> None:
    """Every verb with what it takes.

    Args:
        ctl: the command's parser.
        make: of which class the verbs' parsers are.
    """
    ctl.add_argument(
        "--endpoint", default="tcp://127.0.0.1:5556", metavar="ENDPOINT", help="the run's --control"
    )
    ctl.add_argument("--timeout", type=float, default=5.0, metavar="S", help="how long an answer may take")
    ctl.add_argument(
        "--server-key", type=Path, metavar="FILE.key", help="the run's public key, if it has one"
    )
    ctl.add_argument(
        "--key", type=Path, metavar="FILE.key_secret", help="your own, if the run knows its clients"
    )
    ctl.add_argument(
        "--id", default="", metavar="ID", help="repeat a request by its id, so that it is done once"
    )
    ctl.add_argument("--json", action="store_true", help="print the answer as one JSON object")
    verbs = ctl.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=make)
    for verb, what in (("add", "follow a new object"), ("correct", "correct an object that is followed")):
        command = verbs.add_parser(verb, help=what)
        command.add_argument("specs", nargs="+", metavar="ID:KIND=VALUE", help="box, point, negative or mask")
        _add_when(command)
    remove = verbs.add_parser("remove", help="stop following an object")
    remove.add_argument("object", type=int, metavar="ID")
    _add_when(remove)
    rename = verbs.add_parser("rename", help="follow an object on under another id")
    rename.add_argument("object", type=int, metavar="ID")
    rename.add_argument("new_object", type=int, metavar="NEW")
    _add_when(rename)
    _add_detections(verbs.add_parser("detections", help="take over a detector's boxes"))
    for verb, what in (
        ("pause", "look at no more frames"),
        ("resume", "look at frames again"),
        ("list", "the stream and its objects"),
        ("metrics", "counts and times so far"),
        ("shutdown", "end the run; what is in flight is still written"),
    ):
        verbs.add_parser(verb, help=what)


def _add_detections(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "boxes", nargs="+", metavar="X0,Y0,X1,Y1", help="px; each is an object, known or new"
    )
    command.add_argument(
        "--least-iou",
        type=float,
        default=0.5,
        metavar="IOU",
        help="overlap that makes a box a known object's",
    )
    command.add_argument("--refresh", action="store_true", help="show known objects again by their new boxes")
    command.add_argument("--replace", action="store_true", help="stop following objects without a box")
    _add_when(command)


def _add_when(command: argparse.ArgumentParser) -> None:
    when = command.add_mutually_exclusive_group()
    when.add_argument("--pts", type=int, metavar="TICKS", help="from the first frame at or after this PTS on")
    when.add_argument(
        "--time", metavar="TIME", help="the same in seconds, M:SS or H:MM:SS after the first frame"
    )
    command.add_argument(
        "--no-wait",
        action="store_true",
        help="be content that it is taken in; a refusal is then only in the log",
    )
