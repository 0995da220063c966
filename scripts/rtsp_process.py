"""GStreamer's RTSP server as a process that scripts kill, stop and start again; not a script itself."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

SERVER = Path(__file__).resolve().parents[1] / "tests" / "rtsp_server.py"
SYSTEM_PYTHON = "/usr/bin/python3"  # the one that Debian's GStreamer bindings are installed for


class RtspProcess:
    """A server that is found at the same address every time it is started."""

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def url(self) -> str:
        """A test picture, 640x360 at 25 frames/s."""
        return f"rtsp://127.0.0.1:{self.port}/live"

    def start(self) -> int:
        """Start it; wall clock in ns when it listened."""
        command = [SYSTEM_PYTHON, str(SERVER), "--port", str(self.port)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        listened_ns = time.time_ns()
        if not line.startswith("port "):
            sys.exit("GStreamer's RTSP server does not start: apt install gir1.2-gst-rtsp-server-1.0")
        self.port = int(line.split()[1])
        return listened_ns

    def kill(self) -> None:
        """End it the hard way."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def freeze(self) -> None:
        """Stop it in the middle of what it does, connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
