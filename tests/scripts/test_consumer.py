"""The consumer in JavaScript; in the place of npm's packages, messages come decoded from a file."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import msgpack
import numpy as np
import pytest
from maskstream.model.types import ObjectMask, TrackState, box_of_mask
from maskstream.stream import wire
from maskstream.stream.source_status import SourceState
from maskstream.stream.types import Frame, FrameResult

SCRIPT = Path(__file__).parents[2] / "scripts" / "consumer.mjs"
HW = (37, 53)

SOCKET = """
import { readFileSync } from "node:fs";
export class Subscriber {
  connect(path) { this.messages = JSON.parse(readFileSync(path, "utf8")); }
  subscribe() {}
  close() {}
  async *[Symbol.asyncIterator]() { yield* this.messages; }
}
"""
CODEC = """
const read = (value) => value && value.bytes !== undefined ? Buffer.from(value.bytes, "hex") : value;
export const decode = (message) => JSON.parse(JSON.stringify(message), (key, value) => read(value));
"""


@pytest.fixture
def consumer(tmp_path):
    """Runs it over messages, each a list of parts; its lines."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js here")
    shutil.copy(SCRIPT, tmp_path)
    for name, code in (("zeromq", SOCKET), ("@msgpack/msgpack", CODEC)):
        package = tmp_path / "node_modules" / name
        package.mkdir(parents=True)
        (package / "package.json").write_text('{"type": "module", "exports": "./index.js"}')
        (package / "index.js").write_text(code)

    def consume(*messages):
        plain_messages = [[plain(part) for part in parts] for parts in messages]
        (tmp_path / "messages").write_text(json.dumps(plain_messages))
        command = [node, tmp_path / SCRIPT.name, tmp_path / "messages"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return consume


def plain(part):
    return json.loads(json.dumps(msgpack.unpackb(part), default=lambda data: {"bytes": data.hex()}))


def head(sequence):
    return wire.Head(source="cam", run="a", sequence=sequence, published_unix_ns=0)


def result_of(masks):
    frame = Frame(np.zeros((*HW, 3), np.uint8), 7, 7, Fraction(1, 25), 0, 0, "cam")
    objects = tuple(
        ObjectMask(i, mask, box_of_mask(mask), 0.9, 0.9, TrackState.TRACKED, 0.9)
        for i, mask in enumerate(masks, start=1)
    )
    return FrameResult(frame, objects, 0, 0.0, 0.0, 0)


def test_it_sees_the_masks_that_were_sent_and_what_was_lost(consumer):
    random = np.random.default_rng(0)
    masks = [random.random(HW) < share for share in (0, 0.01, 0.5, 0.99, 1)]
    masks += [np.arange(HW[1]) >= np.full((HW[0], 1), 20), random.random((HW[0], 1)) < np.full(HW, 0.3)]
    frame = wire.encode(result_of(masks), head(3))
    run = consumer([frame], [frame, frame], [wire.encode_end(SourceState.ENDED, None, head(6))])
    expected = [
        f"7 {i} tracked {','.join(map(str, box_of_mask(mask)))} {mask.sum()} "
        + hashlib.sha256(mask.astype(np.uint8).tobytes()).hexdigest()[:16]
        for i, mask in enumerate(masks, start=1)
    ]
    assert run.stderr == ""
    assert run.stdout.splitlines() == [*expected, "ended, 2 lost"]


def test_a_damaged_mask_is_noticed(consumer):
    message = msgpack.unpackb(wire.encode(result_of([np.ones(HW, bool)]), head(0)))
    message["objects"][0]["rle"]["size"] = [HW[0], HW[1] + 1]
    run = consumer([msgpack.packb(message)])
    assert "a damaged mask" in run.stderr
