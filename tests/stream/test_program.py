from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# Sends itself Ctrl-C when the command line is about to be imported.
INTERRUPTED = """
import os, signal, sys
from maskstream.stream import program

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "maskstream.stream.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv = ["maskstream", "weights", "list", "--no-such-option"]
program.main()
"""
# A thread that hangs, as one in a device driver may, and the program has nothing more to do.
HANGING = """
import threading
from maskstream.stream.console import leave

threading.Thread(target=threading.Event().wait).start()
print("last words")
leave(7)
"""


def run(code, **options):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **options)


@pytest.mark.skipif(sys.platform == "win32", reason="signals end no process there")
def test_ctrl_c_while_python_reads_the_program_ends_it_quietly():
    ended = run(INTERRUPTED)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals end no process there")
def test_where_ctrl_c_is_ignored_it_stays_so():
    ended = run(INTERRUPTED, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert ended.returncode == 2
    assert "--no-such-option" in ended.stderr


def test_who_leaves_waits_for_no_thread_and_loses_no_word():
    ended = run(HANGING)
    assert (ended.returncode, ended.stdout) == (7, "last words\n")
