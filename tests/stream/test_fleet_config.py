"""What is written of several streams: what they share, what is their own, and what is wrong with it."""

from __future__ import annotations

import pytest
from maskstream.model.errors import ConfigError, InputError, PromptError, SinkError
from maskstream.stream.config import Config, load_config
from maskstream.stream.fleet_config import check_streams, load_streams, name_of

CAMERAS = """
model: {size: 512}
interaction: exclusive
prompts: ["1:point=50%,50%"]
sinks: ["video=out-{name}.mp4", "zmq=tcp://127.0.0.1:{number}5551"]
control: tcp://127.0.0.1:{number}5561
streams:
  - name: door
    source: rtsp://viewer:s3cret@door.local/live
    queue: {capacity: 1}
  - source: clips/yard.mp4
    prompts: [{id: 2, box: [1, 2, 3, 4]}]
    sinks: [{masks: yard}]
    interaction: none
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "cameras.yaml"
        path.write_text(text)
        return path

    return write


def test_each_stream_has_what_all_have_and_its_own(written):
    door, yard = load_streams(written(CAMERAS), {"model": {"threads": 1}, "max_frames": 9})
    assert (door.name, yard.name) == ("door", "yard")
    assert door.config.sink_specs == ("video=out-door.mp4", "zmq=tcp://127.0.0.1:15551")
    assert (door.config.control, yard.config.control) == ("tcp://127.0.0.1:15561", "tcp://127.0.0.1:25561")
    assert (door.config.interaction, yard.config.interaction) == ("exclusive", "none")
    assert door.config.queue.capacity == 1
    assert yard.config.prompt_specs == ("2:box=1.0,2.0,3.0,4.0@0.0",)
    assert yard.config.sink_specs == ("masks=yard",)
    for stream in (door, yard):
        assert (stream.config.model.size, stream.config.model.threads, stream.config.max_frames) == (
            512,
            1,
            9,
        )


def test_sources_on_the_command_line(written):
    streams = load_streams(None, {"sinks": ["masks={name}"]}, ["a/cup.mp4", "b/cup.mp4", 0])
    assert [(s.name, s.config.source, s.config.sink_specs) for s in streams] == [
        ("cup", "a/cup.mp4", ("masks=cup",)),
        ("cup-2", "b/cup.mp4", ("masks=cup-2",)),
        ("0", 0, ("masks=0",)),
    ]
    (single,) = load_streams(written(CAMERAS), {}, ["other.mp4"])
    assert (single.name, single.config.source, single.config.model.size) == ("", "other.mp4", 512)


def test_a_file_without_streams_is_one_without_a_name(written):
    path = written("source: a.mp4\nsinks: ['video={name}.mp4']\n")
    (only,) = load_streams(path, {"max_frames": 3})
    assert (only.name, only.config) == ("", load_config(path, {"max_frames": 3}))
    assert load_streams()[0].config == Config()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("clips/cup.mp4", "cup"),
        ("rtsp://viewer:s3cret@cam1.local:554/live?x=1", "cam1.local"),
        ("file:///home/me/my clip.mkv", "my-clip"),
        ("/dev/video0", "video0"),
        ("0", "0"),
        ("camera:1", "camera"),
        ("synthetic:scene=drift,objects=2", "synthetic"),
        ("frames/*.png", "stream"),
        ("rtsp://[fe80::1]/live", "fe80"),
    ],
)
def test_names_come_from_sources_and_tell_no_secret(source, name):
    assert name_of(source) == name


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("streams: door\n", ":1: streams: expected a list with an entry for each stream"),
        ("streams:\n  - a.mp4\n", r":2: streams\[0\]: expected settings as 'key: value'"),
        ("streams:\n  - name: door\n", r":2: streams\[0\]: needs the key 'source'"),
        (
            "streams:\n  - source: a\n    sorce: b\n",
            r":3: streams\[0\].sorce: unknown key, did you mean 'source'",
        ),
        ("streams:\n  - source: a\n    model: {size: 64}\n", r":3: streams\[0\].model: one for all streams"),
        ("streams:\n  - source: a\n    metrics: '9464'\n", r":3: streams\[0\].metrics: one for all streams"),
        ("streams:\n  - source: a\n    name: a/b\n", r":3: streams\[0\].name: must be letters"),
        (
            "streams:\n  - {source: a, name: x}\n  - {source: b, name: x}\n",
            r":3: streams\[1\].name: 'x' is another stream's name",
        ),
        ("source: a\nstreams:\n  - source: b\n", ":1: source: give `source` or `streams`, not both"),
        (
            "streams:\n  - source: a\n    queue: {capacity: 0}\n",
            r":3: streams\[0\].queue.capacity: must be at least 1",
        ),
        (
            "streams:\n  - source: a\n    prompts: [{id: 1}]\n",
            r":3: streams\[0\].prompts\[0\]: says nothing",
        ),
    ],
)
def test_mistakes_are_told_with_line_and_key(written, text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_streams(written(text))


def test_a_single_stream_s_door_does_not_take_several(written):
    with pytest.raises(ConfigError, match=":7: streams: several streams: load them with"):
        load_config(written(CAMERAS))


@pytest.mark.parametrize(
    ("streams", "error", "message"),
    [
        ([{"prompts": ["1:bax=1"]}], PromptError, "^stream b: .*did you mean 'box'"),
        ([{"prompts": []}], PromptError, "^stream b: no prompt"),
        ([{"sinks": ["vdeo=x"]}], ConfigError, "^stream b: sink 'vdeo=x'"),
        ([{"sinks": ["video=no/x.mp4"]}], SinkError, "^stream b: the folder no does not exist"),
        (
            [{"sinks": ["masks=x"]}, {"sinks": ["masks=x/"]}],
            ConfigError,
            "streams b and c would both use .*x; giv",
        ),
        (
            [{"control": "ipc://one.ipc"}, {"control": "ipc://one.ipc"}],
            ConfigError,
            "streams b and c would both use ipc://one.ipc; .*write {name} or {number} in it",
        ),
        ([{"sinks": ["video=a.mp4"]}], SinkError, "^stream b: video=a.mp4 would overwrite a.mp4"),
    ],
)
def test_what_can_be_seen_beforehand_is_refused_and_names_the_stream(
    written, tmp_path, monkeypatch, streams, error, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"not looked into yet")
    base = "prompts: ['1:point=1,1']\nstreams:\n  - {source: a.mp4, name: a}\n"
    listed = "".join(
        f"  - {{source: x{i}.mp4, name: {'bcd'[i]}, "
        + ", ".join(f"{k}: {v!r}" for k, v in one.items())
        + "}\n"
        for i, one in enumerate(streams)
    )
    setups = load_streams(written(base + listed))
    with pytest.raises(error, match=message):
        check_streams(setups)
    assert issubclass(error, InputError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "cameras.yaml"]
