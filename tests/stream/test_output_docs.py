"""What docs/wire.md and docs/outputs.md say is true."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import msgpack
import numpy as np
import pytest
from maskstream.stream import wire
from maskstream.stream.mask_sink import MaskSink
from maskstream.stream.source_status import SourceState
from maskstream.stream.stream_status import first_status
from maskstream.stream.zmq_sink import ZmqSink
from pycocotools import mask as coco

# pycocotools 2.0.11 has not heard of numpy 2's copy keyword.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_example_message_is_one():
    example, *others = map(json.loads, blocks("wire.md", "json"))
    found = example["objects"][0]
    found["rle"]["counts"] = found["rle"]["counts"].encode()
    frame = wire.decode(msgpack.packb(example))
    assert frame.objects[0].mask().tolist() == [[False, False, True, True]] * 2
    told, end = (wire.decode(msgpack.packb(other)) for other in others)
    assert (told.status.state, told.status.objects[0].object_id) == (SourceState.RECONNECTING, 1)
    assert (end.state, end.reason) == (SourceState.FAILED, "cam0 did not come back")


def test_the_decoder_in_the_text_decodes():
    space = {}
    exec(blocks("wire.md", "python")[0], space)
    mask = np.random.default_rng(0).random((40, 50)) > 0.7
    counts = coco.encode(np.asfortranarray(mask, np.uint8))["counts"]
    runs = space["runs"](counts)
    decoded = np.repeat(np.arange(len(runs)) % 2, runs).reshape(50, 40).T
    np.testing.assert_array_equal(decoded, mask)


def test_the_consumer_in_the_text_consumes(make_info, make_result, capsys):
    space = {}
    for block in blocks("wire.md", "python"):
        exec(block, space)
    sink = ZmqSink("tcp://127.0.0.1:*", wait_s=20)
    opening = threading.Thread(target=sink.open, args=(make_info(),))
    opening.start()
    while sink.endpoint.endswith("*"):
        pass
    lost = []
    listening = threading.Thread(target=lambda: lost.append(space["listen"](sink.endpoint)))
    listening.start()
    opening.join()
    sink.write(make_result(3))
    sink.close()
    listening.join(20)
    assert lost == [0]
    area = make_result(3).objects[0].area_px
    assert f"3 1 tracked {area} px" in capsys.readouterr().out.splitlines()


def test_every_key_of_a_message_is_described(make_info, make_result):
    text = (DOCS / "wire.md").read_text()
    head = wire.Head(source="cam", run="", sequence=0, published_unix_ns=0)
    status = first_status(make_info(), 1.0)
    made = (
        wire.encode(make_result(), head),
        wire.encode_status(status, head),
        wire.encode_end(None, None, head),
    )
    frame, told, end = map(msgpack.unpackb, made)
    described = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))))
    options = {"keep", "hwm", "heartbeat_s", "subscribers", "wait_s", "linger_s", "key", "clients"}
    assert described == {*frame, *frame["objects"][0], *told, *end, *options}


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
