from __future__ import annotations

import pytest
from maskstream.stream.urls import host_of, is_url, redact


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://host/stream", "rtsp://host/stream"),
        ("rtsp://user@host/stream", "rtsp://user@host/stream"),
        ("rtsp://user:pw@host:554/stream", "rtsp://user:***@host:554/stream"),
        ("rtsp://user:p%40w@host/", "rtsp://user:***@host/"),
        ("rtsp://user:p@w@host/", "rtsp://user:***@host/"),
        ("rtsp://user:p/w@host/", "rtsp://user:***@host/"),
        ("rtsp://user:p:w@host", "rtsp://user:***@host"),
        ("rtsp://host/@channel", "rtsp://host/@channel"),
        ("http://host/x.m3u8?token=abc&t=5", "http://host/x.m3u8?token=***&t=5"),
        ("http://host/cgi?user=me&pwd=pw&Password=pw", "http://host/cgi?user=me&pwd=***&Password=***"),
        ("https://host/x?X-Amz-Signature=pw&sig=pw", "https://host/x?X-Amz-Signature=***&sig=***"),
        ("http://me:pw@host/x?api_key=pw", "http://me:***@host/x?api_key=***"),
        ("clips/a:b@c.mp4", "clips/a:b@c.mp4"),
    ],
)
def test_redact(url, shown):
    assert redact(url) == shown
    assert redact(shown) == shown


def test_is_url():
    assert is_url("rtsp://x")
    assert is_url("HTTP://x")
    assert not is_url("C:\\clips\\a.mp4")
    assert not is_url("12:30.mp4")
    assert not is_url("/a//b")


def test_host_of():
    assert host_of("rtsp://me:pw@[::1]:554/x") == "[::1]:554"
    assert host_of("http://example.com/x?y=1") == "example.com"
