"""Broken and unfit input: what is whole is delivered, and one line says what, why and what to do."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import av
import pytest
from maskstream.model.errors import SourceError, StreamBrokenError
from maskstream.stream.sources import open_source


def read_until_break(path):
    """Frames and the message of the break; None where there was none."""
    frames = []
    with open_source(str(path)) as source:
        try:
            frames.extend(source)
        except StreamBrokenError as error:
            assert list(source) == []  # it is over
            return source, frames, str(error)
    return source, frames, None


def cut(path, share):
    """Cuts the file to about `share` of its size, not on a border of 188 bytes."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share) // 188 * 188 + 5])


@pytest.mark.parametrize("share", [0.5, 0.7, 0.95])
@pytest.mark.parametrize(
    ("name", "codec", "settings"),
    [
        ("faststart.mp4", "libx264", {"container_options": {"movflags": "faststart"}}),
        ("fragmented.mp4", "libx264", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("sound.mp4", "libx264", {"sound": True, "container_options": {"movflags": "faststart"}}),
        ("clip.mkv", "libx264", {}),
        ("clip.webm", "libvpx", {"options": {"deadline": "realtime", "cpu-used": "8"}}),
        ("clip.ts", "mpeg2video", {}),
        ("clip.avi", "mjpeg", {"pixels": "yuvj420p"}),
        ("b_frames.avi", "mpeg4", {"options": {"bf": "2"}}),
        ("clip.flv", "flv1", {}),
    ],
)
def test_a_file_cut_off_gives_all_before_the_cut(make_clip, read_number, name, codec, settings, share):
    path = make_clip(name, codec, frames=60, size=(192, 144), **{"options": {"g": "8"}, **settings})
    cut(path, share)
    _, frames, message = read_until_break(path)
    numbers = [read_number(frame.image) for frame in frames]
    assert 5 < len(frames) < 60
    # The last picture of a transport stream may be shown with its lower part missing.
    assert numbers[:-1] == list(range(len(numbers) - 1))
    assert message is not None
    assert "\n" not in message
    assert message.startswith(
        f"{path} broke off after frame {len(frames) - 1} at {frames[-1].time_s:.3f} s: "
    )


@pytest.mark.parametrize("extra", [0, 8, 45, 110, 150, 178, 190])
def test_a_fragmented_file_cut_anywhere_gives_all_before(make_clip, extra):
    """Also inside a fragment's own header, where FFmpeg refuses the whole file."""
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = make_clip("clip.mp4", frames=40, options={"g": "8"}, container_options=options)
    fourth = [match.start() - 4 for match in re.finditer(b"moof", path.read_bytes())][3]
    path.write_bytes(path.read_bytes()[: fourth + extra])
    _, frames, message = read_until_break(path)
    assert len(frames) == 24
    assert bool(message) == bool(extra)


def test_every_whole_packet_of_a_cut_file_is_shown(make_clip):
    path = make_clip("clip.mp4", frames=60, container_options={"movflags": "faststart"})
    with av.open(str(path)) as container:
        ends = [packet.pos + packet.size for packet in container.demux(video=0) if packet.size]
    for whole in (20, 41, 59):
        shorter = path.with_name("cut.mp4")
        shorter.write_bytes(path.read_bytes()[: ends[whole - 1] + 7])
        _, frames, message = read_until_break(shorter)
        assert len(frames) == whole
        assert "bytes are missing at its end" in message


@pytest.mark.parametrize("name", ["clip.mkv", "clip.avi", "clip.mp4"])
def test_a_file_whose_second_half_is_zeros_is_broken(make_clip, name):
    """A download that was given its full size first, and then was not finished."""
    path = make_clip(name, "mpeg4", frames=60, options={"g": "8"})
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    start, end = packets[30].pos, packets[-1].pos + packets[-1].size  # the index behind the pictures stays
    content[start:end] = bytes(len(content[start:end]))
    path.write_bytes(content)
    _, frames, message = read_until_break(path)
    assert 20 <= len(frames) <= 31
    assert re.search("header promises 2.000 s|packets after that cannot be decoded", message)


def test_damage_in_the_middle_is_survived_and_counted(make_clip):
    path = make_clip("clip.mp4", "mjpeg", frames=60, pixels="yuvj420p")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for packet in packets[20:23]:
        content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(content)
    source, frames, message = read_until_break(path)
    assert message is None
    assert len(frames) == 57
    assert source.counts.corrupt_packets == 3
    assert source.counts.notes() == ["corrupt packets, skipped or patched up by the decoder: 3"]


def refusal(spec, **arguments):
    with pytest.raises(SourceError) as caught:
        open_source(str(spec), **arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("cannot open ")
    return message


def test_missing_files(make_clip, tmp_path):
    make_clip("garden.mp4", frames=1)
    assert refusal(tmp_path / "gardn.mp4").endswith(f"did you mean {tmp_path / 'garden.mp4'}?")
    assert f"there is no such file in {tmp_path}" in refusal(tmp_path / "x.mkv")
    assert f"there is no folder {tmp_path / 'no'} either" in refusal(tmp_path / "no" / "x.mkv")
    assert "there is no such file" in refusal("nul\0.mp4")
    assert "there is no such file" in refusal("long" * 100)
    assert "without a name" in refusal("")


def test_files_that_are_no_video(tmp_path):
    empty, text, poem = (tmp_path / name for name in ("empty.mp4", "text.mp4", "poem.txt"))
    empty.touch()
    text.write_text("Dear diary,\nno video today.\n" * 100)
    poem.write_text("FFmpeg would draw this.\n" * 100)
    assert "empty.mp4: the file is empty (0 bytes); get a complete copy" in refusal(empty)
    assert "text.mp4: it is not a video, or its beginning is damaged; check that" in refusal(text)
    assert "poem.txt: it is a text file" in refusal(poem)


def test_a_file_cut_before_its_first_picture_is_refused(make_clip):
    webm = make_clip("clip.webm", "libvpx", options={"deadline": "realtime", "cpu-used": "8"})
    moov_at_the_end = make_clip("clip.mp4")
    cut(webm, 0.1)
    cut(moov_at_the_end, 0.3)
    for path in (webm, moov_at_the_end):
        assert re.search(r"the file is cut off, at least \d+ bytes are missing", refusal(path))


@pytest.fixture
def as_nobody():
    """An unprivileged user, because the superuser may read everything."""
    if not hasattr(os, "geteuid"):
        pytest.skip("no users on this system")
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


def test_unreadable_files_and_folders(request):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        secret, locked = folder / "secret.mp4", folder / "locked"
        secret.write_bytes(b"x")
        locked.mkdir()
        (locked / "a.png").touch()
        secret.chmod(0)
        locked.chmod(0)
        request.getfixturevalue("as_nobody")
        for path in (secret, locked, locked / "a.png", locked / "a.mp4"):
            assert f"{path}: permission denied; ask for the right" in refusal(path)
        if os.getuid() == 0:
            os.seteuid(0)
        locked.chmod(0o755)


def test_nothing_is_written_to_the_terminal(make_clip, tmp_path, capfd):
    path = make_clip("clip.mp4", frames=60, container_options={"movflags": "faststart"})
    cut(path, 0.6)
    read_until_break(path)
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    refusal(tmp_path / "text.mp4")
    assert capfd.readouterr() == ("", "")
