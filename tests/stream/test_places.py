"""No output takes the place of an input or of another output."""

from __future__ import annotations

from pathlib import Path

import pytest
from maskstream.model.errors import SinkError
from maskstream.stream.places import check_places, place_of
from maskstream.stream.sources import files_of


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """With a clip, a drawing, and the mask files of an earlier run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("clip.mp4", "cup.png", "m/masks.jsonl", "m/png/clip/00000.png", "m/png/clip/00001.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"precious")
    (tmp_path / "link.mp4").symlink_to("clip.mp4")
    (tmp_path / "hard.mp4").hardlink_to(tmp_path / "clip.mp4")
    return tmp_path


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("video=a.mp4", "video=a.mp4"),
        ("video=a.mp4", "video=./x/../a.mp4"),
        ("video=a.mp4", "video=~/a.mp4"),
        ("masks=a", "masks=a?png=0"),
        ("masks=a", "video=a"),
        ("zmq=5555", "zmq=tcp://127.0.0.1:5555?wait_s=1"),
    ],
)
def test_two_outputs_in_one_place(first, second):
    with pytest.raises(SinkError) as caught:
        check_places([first, "preview=b.png", second], [])
    assert str(caught.value) == f"{first} and {second} write to one place; give each its own"


@pytest.mark.parametrize(
    ("source", "sink"),
    [
        ("clip.mp4", "video=clip.mp4"),
        ("clip.mp4", "video=~/clip.mp4"),
        ("clip.mp4", "video=link.mp4"),
        ("link.mp4", "video=clip.mp4"),
        ("clip.mp4", "video=hard.mp4"),
        ("file://{folder}/clip.mp4", "video=clip.mp4"),
        ("cup.png", "preview=cup.png"),
        ("*.png", "preview=cup.png"),
        ("m/png/clip", "preview=m/png/clip/00001.png"),
        ("m/png/clip", "masks=m/png/clip"),
        ("m/png/clip", "masks=m"),
        ("m/png/*/*.png", "masks=m?png=0"),
        ("m/png/clip/00000.png", "masks=m"),
    ],
)
def test_an_output_in_the_place_of_the_source(folder, source, sink):
    files = files_of(source.format(folder=folder))
    with pytest.raises(SinkError, match="would overwrite .*, which this run reads; choose another place"):
        check_places(["zmq=5555", sink], files)


def test_outputs_that_are_in_nobody_s_way():
    sinks = ["video=a.mp4", "masks=n", "preview=m/a.png", "zmq=5555", "zmq=5556", "zmq=ipc:///tmp/5555"]
    check_places(sinks, [*files_of("clip.mp4"), *files_of("m/png/clip"), Path("cup.png")])
    check_places(["masks=m"], files_of("clip.mp4"))
    check_places(["video=a?.mp4", "video=a.mp4"], [])


def test_an_output_in_the_place_of_a_drawn_mask():
    with pytest.raises(SinkError, match=r"preview=cup\.png would overwrite cup\.png, which this run reads"):
        check_places(["preview=cup.png"], [Path("cup.png")])


@pytest.mark.parametrize(
    "source", ["", "0", "rtsp://127.0.0.1/x", "synthetic:frames=3", "device:lavfi:x", "no/*.png"]
)
def test_sources_that_read_no_file(source):
    assert files_of(source) == []


def test_where_a_sink_writes(folder):
    assert place_of("video=a.mp4") == folder / "a.mp4"
    assert place_of("masks=a?overwrite=1") == folder / "a"
    assert place_of("zmq=5555?wait_s=1") == "tcp://127.0.0.1:5555"
