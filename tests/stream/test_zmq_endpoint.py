from __future__ import annotations

import pytest
from maskstream.model.errors import SinkError
from maskstream.stream.zmq_endpoint import Endpoint


@pytest.mark.parametrize(
    ("text", "is_public"),
    [
        ("5555", False),
        ("tcp://127.0.0.1:5555", False),
        ("tcp://127.1.2.3:5555", False),
        ("tcp://localhost:5555", False),
        ("tcp://[::1]:5555", False),
        ("tcp://lo:5555", False),
        ("ipc:///tmp/masks", False),
        ("tcp://*:5555", True),
        ("tcp://0.0.0.0:5555", True),
        ("tcp://[::]:5555", True),
        ("tcp://192.168.1.5:5555", True),
        ("tcp://eth0:5555", True),
        ("tcp://robot.local:5555", True),
    ],
)
def test_who_can_reach_it(text, is_public):
    assert Endpoint(text, "publish on", SinkError, 5555).is_public is is_public
