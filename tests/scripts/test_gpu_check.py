"""What is tried on a GPU, as far as that goes without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "gpu_check"


def run(tmp_path, *arguments):
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(tmp_path / "out")}
    return subprocess.run([SCRIPT, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True)


def test_it_says_what_it_needs(tmp_path):
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "scripts/gpu_check WEIGHTS [DATASET" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_nothing_is_begun(tmp_path):
    done = run(tmp_path, "weights.pt")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gpu_check: PyTorch sees no CUDA device here\n"
