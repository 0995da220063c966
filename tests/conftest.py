"""Real things to look at, which run outside of Python: an RTSP server, a screen."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import av  # noqa: F401 - before OpenCV, as the program does: see runner.check_sinks
import pytest

RTSP_SERVER = Path(__file__).with_name("rtsp_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"  # the one that Debian's GStreamer bindings are installed for


def pytest_configure():
    """Who starts the tests in the background may have Ctrl-C ignored, which programs inherit."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def rtsp_is_missing():
    if not Path(SYSTEM_PYTHON).exists() or sys.platform != "linux":
        return f"no {SYSTEM_PYTHON}"
    check = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
assert Gst.ElementFactory.find("x264enc")
"""
    run = subprocess.run([SYSTEM_PYTHON, "-c", check], capture_output=True, text=True)
    return "GStreamer's RTSP server is not installed (gir1.2-gst-rtsp-server-1.0)" if run.returncode else ""


@pytest.fixture(scope="session")
def start_rtsp():
    """`start_rtsp("--user", ...)` starts GStreamer's RTSP server; gives its process and `127.0.0.1:PORT`."""
    missing = rtsp_is_missing()
    if missing:
        pytest.skip(missing)
    processes = []

    def start(*arguments):
        command = [SYSTEM_PYTHON, str(RTSP_SERVER), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        processes.append(process)
        port = process.stdout.readline().split()[1]
        return process, f"127.0.0.1:{port}"

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def rtsp(start_rtsp):
    """Address of an RTSP server that asks for no login."""
    return start_rtsp()[1]


@pytest.fixture
def x_display():
    """A screen without a monitor, as `:N`."""
    if not shutil.which("Xvfb"):
        pytest.skip("Xvfb is not installed")
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "160x120x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    yield ":" + process.stdout.readline().strip()
    process.terminate()
    process.wait()
    process.stdout.close()
