"""What docs/wire.md and docs/outputs.md say is true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgpack
import numpy as np
import pytest
from maskstream.stream import wire
from maskstream.stream.mask_sink import MaskSink
from pycocotools import mask as coco

# pycocotools 2.0.11 has not heard of numpy 2's copy keyword.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_example_message_is_one():
    example = json.loads(blocks("wire.md", "json")[0])
    found = example["objects"][0]
    found["rle"]["counts"] = found["rle"]["counts"].encode()
    frame = wire.decode(msgpack.packb(example))
    assert frame.objects[0].mask().tolist() == [[False, False, True, True]] * 2


def test_the_decoder_in_the_text_decodes():
    space = {}
    exec(blocks("wire.md", "python")[0], space)
    mask = np.random.default_rng(0).random((40, 50)) > 0.7
    counts = coco.encode(np.asfortranarray(mask, np.uint8))["counts"]
    runs = space["runs"](counts)
    decoded = np.repeat(np.arange(len(runs)) % 2, runs).reshape(50, 40).T
    np.testing.assert_array_equal(decoded, mask)


def test_every_key_of_a_message_is_described(make_info, make_result):
    text = (DOCS / "wire.md").read_text()
    message = msgpack.unpackb(wire.encode(make_result(), make_info(), 0, 0))
    for key in (*message, *message["objects"][0]):
        assert f"`{key}`" in text, key
    described = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))))
    options = {"subscribers", "wait_s", "backlog", "linger_s"}
    assert described == {*message, *message["objects"][0], *options}


def test_the_mask_file_reader_in_the_text_reads(tmp_path, monkeypatch, capsys, make_info, make_result):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    sink = MaskSink("out/masks")
    sink.open(make_info())
    sink.write(make_result())
    sink.close()
    exec(blocks("outputs.md", "python")[0], {})
    area = make_result().objects[0].area_px
    assert capsys.readouterr().out.splitlines()[0] == f"0.0 1 tracked {area}"


def test_the_manifest_is_described_whole(tmp_path, make_info, make_result):
    sink = MaskSink(tmp_path / "masks")
    sink.open(make_info())
    sink.write(make_result())
    sink.close()
    text = (DOCS / "outputs.md").read_text()
    for key in json.loads((tmp_path / "masks" / "stream.json").read_text()):
        assert f"`{key}`" in text
    for key in json.loads((tmp_path / "masks" / "masks.jsonl").read_text().splitlines()[0]):
        assert f"`{key}`" in text
