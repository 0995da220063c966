"""Every command and program that README.md and its neighbours show is run, with small things for large ones.

Each fenced block of sh, python or yaml is a test, in a folder that holds what the pages speak of: clip.mp4,
clips/, image.jpg, DAVIS/. What no test can have is replaced by SWAPS, a table of pattern, replacement and
reason; a row that fits nothing any more fails. What is not run at all is in NOT_RUN, with the reason.

A block of sh is run by bash, in which `maskstream` only notes its arguments; each call is then made in this
process, which has loaded PyTorch already, with SMALL appended. So quoting, loops and options are the page's.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from maskstream.model.errors import WeightsError
from maskstream.model.types import ObjectMask
from maskstream.model.weights import resolve
from maskstream.stream import cli
from maskstream.stream.chaos_plan import KINDS
from maskstream.stream.chaos_spec import parse_chaos
from maskstream.stream.config import Config, ModelConfig, QueueConfig, preset_names
from maskstream.stream.fleet_config import load_streams
from maskstream.stream.recovery_settings import ReconnectConfig
from maskstream.stream.synthetic import SyntheticSettings, SyntheticSource
from maskstream.stream.watchdog_settings import WatchdogConfig
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/inputs.md", "docs/python.md")
SMALL = {"run": ["--max-frames", "4"], "eval": ["--max-frames", "3"]}
SMALL_NETWORKS = ["--size", "64", "--engine", "torch"]
CAMERA = "device:lavfi:testsrc2=size=320x240:rate=10,realtime"


@dataclass(frozen=True)
class Swap:
    """A stand-in for what a test cannot have."""

    language: str
    pattern: str
    replacement: str
    reason: str


SWAPS = (
    Swap("sh", "run webcam(?! --source)", f"run webcam --source {CAMERA}", "no camera: a test picture"),
    Swap("sh", "/dev/video2", CAMERA, "no camera: a test picture"),
    Swap(
        "sh", r"rtsp://user:\S+", "synthetic:scene=still,objects=1,frames=30,fps=10,live=1", "no such camera"
    ),
    Swap("sh", r"\bpython scripts/", f"{sys.executable} {ROOT}/scripts/", "the folder is not the repository"),
    Swap("python", r"\btrack\((.*)\):", r'track(\1, size=64, engine="torch", max_frames=4):', "time"),
    Swap("python", r"\bSession\((.*)\) as", r'Session(\1, size=64, engine="torch", max_frames=9) as', "time"),
    Swap("python", r"load_predictor\(\)", "load_predictor(size=64)", "time"),
    Swap("python", r'SAM\("mobile_sam.pt"\)', "SAM(size=64)", "any weights: GitHub may be out of reach"),
    Swap("python", r"Config\(", 'Config(model={"size": 64, "engine": "torch"}, ', "time"),
    Swap(
        "python",
        r"load_streams\(None, {",
        'load_streams(None, {"model": {"size": 64, "engine": "torch"}, ',
        "time",
    ),
    Swap("python", "age_s > 0.5", "age_s > 60", "a busy machine is slow"),
)
NOT_RUN = {
    "scripts/demo": "sets up .venv; CI runs it",
    "scripts/test": "it is what runs this test",
    "pip install .": "changes the environment; CI installs the wheel and uses it",
    "maskstream weights pull mobile_sam": "40 MB from GitHub",
}


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def small(self) -> str:
        """What is run."""
        text = self.text
        for swap in SWAPS:
            if swap.language == self.language:
                text = re.sub(swap.pattern, lambda match, swap=swap: match.expand(swap.replacement), text)
        return text


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = (ROOT / page).read_text()
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            yield Block(page, text[: match.start()].count("\n") + 1, match[1], match[2])


def is_robot(block: Block) -> bool:
    """Publisher and subscribers, which only make sense together."""
    return any(text in block.text for text in ("rtsp://", "127.0.0.1:5555", "maskstream ctl"))


def chosen(language: str) -> list[Block]:
    return [
        block
        for block in blocks()
        if block.language == language and block.text.strip() not in NOT_RUN and not is_robot(block)
    ]


def one(blocks: Iterator[Block], text: str) -> Block:
    (block,) = [block for block in blocks if text in block.text]
    return block


# ---- the folder that the pages speak of


@pytest.fixture(scope="module")
def source() -> SyntheticSource:
    return SyntheticSource(SyntheticSettings("still", objects=1, frames=5, width=320, height=416))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, source: SyntheticSource) -> Path:
    folder = tmp_path_factory.mktemp("user")
    write_clip(folder / "clip.mp4", source)
    Image.fromarray(source.scene.image_at(0.0)).save(folder / "image.jpg")
    (folder / "clips").mkdir()
    for name in ("a", "b"):
        shutil.copy(folder / "clip.mp4", folder / "clips" / f"{name}.mp4")
        write_mask(folder / "clips" / f"{name}.png", source.truth(0)[1])
    write_davis(folder / "DAVIS", source)
    for block in blocks():
        if block.language == "yaml":
            (folder / yaml_name(block)).write_text(block.text)
    return folder


def write_clip(path: Path, source: SyntheticSource) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = source.info.width_px, source.info.height_px, "yuv420p"
        for frame in source:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, "rgb24")))
        container.mux(stream.encode())


def write_mask(path: Path, mask: np.ndarray) -> None:
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def write_davis(root: Path, source: SyntheticSource) -> None:
    pictures, masks = root / "JPEGImages/480p/shape", root / "Annotations/480p/shape"
    lists = root / "ImageSets/2017"
    for made in (pictures, masks, lists):
        made.mkdir(parents=True)
    (lists / "val.txt").write_text("shape\n")
    for index in range(3):
        Image.fromarray(source.scene.image_at(index / 30)).save(pictures / f"{index:05}.jpg")
        write_mask(masks / f"{index:05}.png", source.truth(index)[1])


def yaml_name(block: Block) -> str:
    """The file that a block of yaml says it is, in its first line."""
    name = re.match(r"# (\S+\.yaml)\n", block.text)
    assert name, f"{block} does not begin with its file's name"
    return name[1]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """On a busy machine the threads of a small network wait for one another most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def at_home(folder: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights are here, and so are we."""
    try:
        resolve()
    except WeightsError as error:
        pytest.skip(f"no weights can be had here: {error}")
    monkeypatch.chdir(folder)
    return folder


# ---- running


RECORDER = """
maskstream() { printf '%s\\0' "$@" '' >>"$CALLS"; }
"""


def calls_of(block: Block, folder: Path, tmp_path: Path) -> list[list[str]]:
    """The arguments of each `maskstream` that bash runs for a block."""
    calls = tmp_path / f"calls-{block.line}"
    script = RECORDER + block.small
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "CALLS": str(calls)},
        check=True,
    )
    return [call.split("\0") for call in calls.read_text().split("\0\0")[:-1]]


def call(arguments: list[str]) -> None:
    """What `maskstream ARGUMENTS` does, made small."""
    command = arguments[0]
    if command in SMALL:
        arguments = [*arguments, *SMALL[command], *SMALL_NETWORKS]
    assert cli.main(arguments) == 0
    if command == "run":
        options = cli.build_parser().parse_args(arguments)
        streams = load_streams(options.config, cli.config_overrides(options), options.source or ())
        for spec in (spec for stream in streams for spec in stream.config.sink_specs):
            kind, _, target = spec.partition("=")
            assert kind == "zmq" or Path(target.partition("?")[0]).exists(), spec


@pytest.mark.weights
@pytest.mark.parametrize("block", chosen("sh"), ids=str)
def test_commands(block: Block, at_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = calls_of(block, at_home, tmp_path)
    assert calls, "no maskstream in it"
    for arguments in calls:
        call(arguments)
    output = capsys.readouterr()
    assert output.out
    assert all(line.startswith("maskstream: note: ") for line in output.err.splitlines()), output.err


@pytest.mark.weights
@pytest.mark.parametrize("block", chosen("python"), ids=str)
def test_programs(block: Block, at_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block.small, str(block), "exec"), {"__name__": "__main__"})
    assert ("print(" in block.text) == bool(capsys.readouterr().out)


@pytest.mark.weights
def test_the_robot_hears_the_camera_and_steers(at_home: Path, tmp_path: Path) -> None:
    ports = {":5555": f":{free_port()}", ":5556": f":{free_port()}"}

    def moved(text: str) -> str:
        """To ports that are free."""
        for port, other in ports.items():
            text = text.replace(port, other)
        return text

    robot = [block for block in blocks() if is_robot(block) and block.page == "README.md"]
    shell, program = moved(one(robot, "subscribe.py").small), moved(one(robot, "Subscriber(").small)
    (arguments,) = calls_of(one(robot, "run rtsp"), at_home, tmp_path)
    here = f"tcp://127.0.0.1{ports[':5556']}"
    by_hand = [
        ["ctl", "--endpoint", here, "--timeout", "60", *words[1:]]
        for words in calls_of(one(robot, "maskstream ctl"), at_home, tmp_path)
    ]
    sink = f"zmq=tcp://127.0.0.1{ports[':5555']}?subscribers=2&wait_s=60"
    codes: list[int] = []
    with ExitStack() as stack:
        listeners = []
        for command in (["bash", "-c", "exec " + shell], [sys.executable, "-W", "error", "-c", program]):
            pipe = subprocess.PIPE
            listeners.append(
                stack.enter_context(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True))
            )
            stack.callback(listeners[-1].kill)
        steering = threading.Thread(target=lambda: codes.extend(cli.main(words) for words in by_hand))
        steering.start()
        small = [*SMALL_NETWORKS, "--size", "256", "--sink", sink, "--control", here]
        assert cli.main([*arguments, *small]) == 0
        heard = [listener.communicate(timeout=30) for listener in listeners]
        steering.join()
    assert [listener.returncode for listener in listeners] == [0, 0], heard
    assert codes == [0, 0]
    (lines, _), (loop, complaints) = heard
    assert re.search(r"^frame \d+  t=\S+ s  age=\S+ ms  #1 tracked at ", lines, re.MULTILINE)
    assert "the stream has ended" in lines
    assert re.search(r"^1 \(\d+, \d+, \d+, \d+\) \d+$", loop, re.MULTILINE), complaints
    assert re.search(r"^object 2 from frame \d+ on$", loop, re.MULTILINE), complaints


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- what the pages say


def test_every_stand_in_is_still_needed() -> None:
    for swap in SWAPS:
        assert any(
            re.search(swap.pattern, block.text) for block in blocks() if block.language == swap.language
        ), swap
    for text in NOT_RUN:
        assert any(block.text.strip() == text for block in blocks()), text


def test_every_block_says_its_language() -> None:
    assert {block.language for block in blocks()} == {"sh", "python", "yaml"}


@pytest.mark.parametrize("name", ["scripts/demo", "scripts/test"])
def test_the_scripts_are_there_to_be_run(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)


@pytest.mark.parametrize("block", [block for block in blocks() if block.language == "yaml"], ids=str)
def test_settings(block: Block, tmp_path: Path) -> None:
    path = tmp_path / yaml_name(block)
    path.write_text(block.text)
    assert parse_chaos(f"chaos:{path}") if is_chaos(block) else load_streams(path)[0].config.source


def is_chaos(block: Block) -> bool:
    """A script of faults, and no settings of a run."""
    return "\nfaults:\n" in block.text


def test_every_kind_of_fault_is_shown() -> None:
    (block,) = [block for block in blocks() if block.language == "yaml" and is_chaos(block)]
    assert set(re.findall(r"do: (\w+)", block.text)) == set(KINDS)


def test_every_key_is_described_with_its_option() -> None:
    text = (ROOT / "docs/inputs.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| .*? \| (?:`(--[a-z-]+)`)? ?\|", text, re.MULTILINE))
    keys = {field.name for field in dataclasses.fields(Config)} - {"model", "queue", "reconnect", "watchdog"}
    groups = (
        ("model", ModelConfig),
        ("queue", QueueConfig),
        ("reconnect", ReconnectConfig),
        ("watchdog", WatchdogConfig),
    )
    for group, kind in groups:
        keys |= {f"{group}.{field.name}" for field in dataclasses.fields(kind)}
    assert rows.keys() == keys
    usage = subparser_help("run")
    of_the_terminal = {"--json", "--check", "--log-format", "--log-level"}
    options = set(re.findall(r"\[(--[a-z-]+)", usage)) - of_the_terminal
    assert {option for option in rows.values() if option} == options


def subparser_help(command: str) -> str:
    with pytest.raises(SystemExit), pytest.MonkeyPatch.context() as patch:
        shown: list[str] = []
        patch.setattr(sys.stdout, "write", shown.append)
        cli.main([command, "--help"])
    return "".join(shown)


def test_every_preset_is_named() -> None:
    for page in ("README.md", "docs/inputs.md"):
        text = (ROOT / page).read_text()
        assert all(f"`{name}`" in text for name in preset_names()), page


def test_the_fields_named_for_python_are_there() -> None:
    text = (ROOT / "docs/python.md").read_text()
    listed = re.search(r"^- `found`: (.*?)\n\n", text, re.DOTALL | re.MULTILINE)
    assert listed
    for name in re.findall(r"`(\w+)`", listed[1]):
        assert name in ObjectMask.__dataclass_fields__ or hasattr(ObjectMask, name), name


@pytest.mark.parametrize(
    "page",
    [*PAGES, "CHANGELOG.md", *(f"docs/{name}.md" for name in ("control", "outputs", "reliability", "wire"))],
)
def test_no_link_leads_nowhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), target


def test_the_picture_is_small() -> None:
    assert (ROOT / "docs/demo.jpg").stat().st_size < 300_000
