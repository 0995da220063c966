"""What docs/control.md says is true."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import msgpack
import pytest
from maskstream.stream.cli import build_parser, main
from maskstream.stream.config import Config
from maskstream.stream.control_wire import KEYS, decode_answer, decode_request
from maskstream.stream.runner import prepare

TEXT = (Path(__file__).parents[2] / "docs" / "control.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def first_cells(header):
    """Names in the first column of the table whose head begins so."""
    (rows,) = re.findall(rf"^\| {header} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    return [name for row in rows.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_every_verb_and_key_is_described():
    assert set(first_cells(r"verb \| takes")) == set(KEYS)
    cells = re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} >= set().union(*KEYS.values())


def test_the_examples_of_bytes_are_what_is_sent():
    request, effect, refusal = map(json.loads, blocks("json"))
    command = decode_request(msgpack.packb(request), (480, 640)).command
    assert (command.prompt.object_id, command.known) == (2, False)
    assert decode_answer(msgpack.packb(effect)).effect.object_ids == (2,)
    assert decode_answer(msgpack.packb(refusal)).error.startswith("object 7 is not tracked")


def commands():
    return [
        shlex.split(line)
        for block in blocks("sh")
        for line in block.replace("\\\n", "").splitlines()
        if line.startswith("maskstream")
    ]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_can_be_written(words):
    assert build_parser().parse_args(words[1:])


def test_the_program_steers(segment_boxes, tmp_path, capsys):
    control = f"ipc://{tmp_path}/control"
    run = prepare(Config(source="synthetic:frames=1000000,width=640,height=480", control=control))
    names = {}
    with run.pipeline as pipeline:
        for block in blocks("python"):
            exec(block.replace("tcp://127.0.0.1:5556", control), names)
        pipeline.stop()
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("object 2 from frame ")
    assert said[1] == "[(2, 'tracked'), (30, 'tracked')]"
    assert said[2].startswith("from frame ")


def test_the_keys_fit_their_locks(segment_boxes, tmp_path, monkeypatch, capsys):
    """The chapter's commands, on addresses of this machine."""
    monkeypatch.chdir(tmp_path)
    assert main(["keys", "robot"]) == main(["keys", "planner"]) == 0
    (tmp_path / "friends").mkdir()
    (tmp_path / "planner.key").rename(tmp_path / "friends" / "planner.key")
    line = next(words for words in commands() if "--sink" in words)
    options = build_parser().parse_args(line[1:])
    here = f"ipc://{tmp_path}/control?" + options.control.partition("?")[2]
    sink = f"zmq=ipc://{tmp_path}/masks?" + options.sink[0].partition("?")[2]
    source = "synthetic:frames=1000000,width=64,height=48"
    with prepare(Config(source=source, control=here, sinks=(f"{sink}&subscribers=0",))).pipeline as pipeline:
        capsys.readouterr()
        asked = next(words for words in commands() if "--server-key" in words)
        asked[asked.index("--endpoint") + 1] = f"ipc://{tmp_path}/control"
        assert main(asked[1:]) == 0
        assert "running" in capsys.readouterr().out
        pipeline.stop()
