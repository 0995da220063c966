from __future__ import annotations

import logging
import stat
import threading

import pytest
import zmq.auth
from maskstream.model.errors import ConfigError, SinkError
from maskstream.stream.cli import main
from maskstream.stream.client import Subscriber
from maskstream.stream.keys import ClientKeys, ServerKeys, check_guard, make_keys
from maskstream.stream.zmq_endpoint import Endpoint
from maskstream.stream.zmq_sink import ZmqSink

SOON_S = 20.0


@pytest.fixture
def pair(tmp_path):
    """Makes a key pair by name; its public and its secret file."""

    def make(name):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        return make_keys(tmp_path / name)

    return make


def test_a_pair_of_files_of_which_one_is_secret(pair, tmp_path):
    public, secret = pair("robot")
    assert (public.name, secret.name) == ("robot.key", "robot.key_secret")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert zmq.auth.load_certificate(public)[1] is None
    assert zmq.auth.load_certificate(secret)[0] == zmq.auth.load_certificate(public)[0]
    with pytest.raises(ConfigError, match="robot.key is there already"):
        make_keys(tmp_path / "robot")
    with pytest.raises(SinkError, match="nowhere does not exist"):
        make_keys(tmp_path / "nowhere" / "robot")


def test_keys_that_are_none_are_told_before_anything_is_bound(pair, tmp_path):
    public, secret = pair("robot")
    text = tmp_path / "text.key_secret"
    text.write_text("hello")
    short = tmp_path / "short.key"
    short.write_text(public.read_text().replace('public-key = "', 'public-key = "x'))
    empty = tmp_path / "empty"
    empty.mkdir()
    for keys, complaint in (
        (ServerKeys(tmp_path / "no.key_secret"), "no.key_secret: it is not a key|No such file"),
        (
            ServerKeys(text),
            "text.key_secret: it is not a key in ZeroMQ's form; make one: maskstream keys NAME",
        ),
        (ServerKeys(public), "holds no secret key: give the file that ends in .key_secret"),
        (ServerKeys(secret, tmp_path / "nobody"), "nobody is not a folder of public keys"),
        (ServerKeys(secret, empty), "no client may connect"),
        (ServerKeys(secret, tmp_path), "a key has 40 characters"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            ZmqSink("tcp://127.0.0.1:*", key=keys.secret, clients=keys.clients).check()
    with pytest.raises(SinkError, match="needs the publisher's own key"):
        ZmqSink("tcp://127.0.0.1:*", clients=tmp_path).check()


def connects(make_info, sink_options, keys, patience_s=SOON_S):
    """Whether a subscriber with these keys gets the signs of life that a sink publishes."""
    sink = ZmqSink("tcp://127.0.0.1:*", subscribers=0, heartbeat_s=0.02, **sink_options)
    sink.check()
    sink.open(make_info())
    try:
        with Subscriber(sink.endpoint, keys=keys) as masks:
            for _ in range(round(patience_s / 0.05)):
                masks.receive(0.05)
                if masks.status is not None:
                    return True
            return False
    finally:
        sink.close()


def test_who_has_the_publishers_key_hears_it_and_nobody_else(pair, make_info):
    public, secret = pair("robot")
    stranger, _ = pair("stranger")
    assert connects(make_info, {"key": secret}, ClientKeys(public))
    assert not connects(make_info, {"key": secret}, None, 0.3)
    assert not connects(make_info, {"key": secret}, ClientKeys(stranger), 0.3)


def test_a_folder_says_who_may_connect(pair, make_info, tmp_path):
    public, secret = pair("robot")
    _, friend = pair("clients/friend")
    _, stranger = pair("stranger")
    options = {"key": secret, "clients": tmp_path / "clients"}
    assert connects(make_info, options, ClientKeys(public, friend))
    assert not connects(make_info, options, ClientKeys(public, stranger), 0.3)
    assert not connects(make_info, options, ClientKeys(public), 0.3)


def test_nothing_is_left_behind(pair, make_info, tmp_path):
    _, secret = pair("robot")
    pair("clients/friend")
    threads = threading.active_count()
    busy = ZmqSink("tcp://127.0.0.1:*", subscribers=0)
    busy.open(make_info())
    with pytest.raises(SinkError, match="in use"):
        ZmqSink(busy.endpoint, key=secret, clients=tmp_path / "clients").open(make_info())
    busy.close()
    assert threading.active_count() == threads


@pytest.mark.parametrize(("text", "warns"), [("5555", False), ("tcp://*:5555", True)])
def test_an_open_door_is_told(caplog, pair, text, warns):
    endpoint = Endpoint(text, "publish on", SinkError, 5555)
    with caplog.at_level(logging.WARNING, "maskstream"):
        check_guard(endpoint, None, "read what is seen")
        assert bool(caplog.messages) is warns
        caplog.clear()
        check_guard(endpoint, ServerKeys(pair("robot")[1]), "read what is seen")
    assert not caplog.messages


def test_the_command_makes_them(tmp_path, capsys):
    assert main(["keys", str(tmp_path / "robot")]) == 0
    assert [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"{tmp_path}/robot.key",
        f"{tmp_path}/robot.key_secret",
    ]
    assert main(["keys", str(tmp_path / "robot")]) == 2
    assert "robot.key is there already: choose another name" in capsys.readouterr().err
