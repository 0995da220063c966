"""What `maskstream` starts: Ctrl-C ends it at once and quietly while Python is still reading the program."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line, then end the process with its exit code."""
    takes_ctrl_c = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it was told not to
    if takes_ctrl_c:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python would show where in its imports it was
    from .cli import main as answer
    from .console import leave

    if takes_ctrl_c:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    leave(answer())
