"""Nonsense for the control channel and for consumers, in small."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parents[2] / "scripts" / "fuzz_messages.py"


def test_nonsense_changes_nothing():
    command = [sys.executable, str(FUZZ), "--control", "300", "--wire", "300"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    control, wire, _ = done.stdout.splitlines()
    assert re.match(r"control: 300 sent \(\d+ bad, \d+ refused on a frame", control)
    assert wire.startswith("wire: 300 sent")
