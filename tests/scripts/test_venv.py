"""The set-up that every script begins with, on a copy of it, with a Python that notes what it is asked."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PYTHON = """#!/bin/sh
echo "$@" >> {log}
case "$1 $2" in
    "-m venv") rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
    "-m pip") exit {pip_exit} ;;
    "-m pytest") echo tests ran in "$PWD" ;;
    *) exec {real} "$@" ;;
esac
"""


@dataclass
class Copy:
    """A repository that has only what the set-up needs."""

    root: Path
    elsewhere: Path

    @property
    def log(self) -> Path:
        return self.elsewhere / "calls"

    def python(self, name: str = "python", text: str = PYTHON, pip_exit: int = 0) -> Path:
        path = self.elsewhere / name
        path.write_text(text.format(log=self.log, real=sys.executable, pip_exit=pip_exit))
        path.chmod(0o755)
        return path

    def test(self, python: Path | str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs scripts/test from another directory."""
        self.log.unlink(missing_ok=True)
        return subprocess.run(
            [self.root / "scripts" / "test", *arguments],
            cwd=self.elsewhere,
            env={"PATH": "/usr/bin:/bin", "PYTHON": str(python)},
            capture_output=True,
            text=True,
        )

    def calls(self) -> list[str]:
        """What Python was asked to do, apart from questions about itself."""
        return [line for line in self.log.read_text().splitlines() if line.startswith("-m")]


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    root, elsewhere = tmp_path / "the repository", tmp_path / "elsewhere"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    elsewhere.mkdir()
    return Copy(root, elsewhere)


def test_the_first_run_sets_up_and_the_second_does_not(copy: Copy) -> None:
    first = copy.test(copy.python(), "-k", "x")
    venv, pip, pytest_ = copy.calls()
    assert venv == f"-m venv --clear {copy.root}/.venv"
    assert f"--constraint {copy.root}/scripts/constraints.txt" in pip
    assert pip.endswith(f"--editable {copy.root}[test,dev]")
    assert pytest_ == "-m pytest -k x"
    assert first.stdout == f"tests ran in {copy.root}\n"
    assert first.returncode == 0
    copy.test(copy.python())
    assert copy.calls() == ["-m pytest"]


@pytest.mark.parametrize("file", ["pyproject.toml", "scripts/constraints.txt"])
def test_other_requirements_are_installed_into_the_same_environment(copy: Copy, file: str) -> None:
    copy.test(copy.python())
    with (copy.root / file).open("a") as text:
        text.write("# changed\n")
    copy.test(copy.python())
    assert [call.split()[1] for call in copy.calls()] == ["pip", "pytest"]


def test_a_failed_installation_is_tried_again(copy: Copy) -> None:
    failed = copy.test(copy.python(pip_exit=1))
    assert failed.returncode == 2
    assert "pip could not install" in failed.stderr
    assert [call.split()[1] for call in copy.calls()] == ["venv", "pip"]
    copy.test(copy.python())
    assert [call.split()[1] for call in copy.calls()] == ["pip"]  # the environment's own Python still fails


def test_an_environment_whose_python_has_gone_is_made_again(copy: Copy) -> None:
    copy.test(copy.python())
    (copy.root / ".venv" / "bin" / "python").unlink()
    copy.test(copy.python())
    assert [call.split()[1] for call in copy.calls()] == ["venv", "pip", "pytest"]


def test_an_old_python_is_named_with_what_to_do(copy: Copy) -> None:
    old = '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\n'
    run = copy.test(copy.python("old", old))
    assert run.returncode == 2
    assert "Python 3.11 or newer is needed, but" in run.stderr
    assert "is Python 3.9.2. Install it" in run.stderr
    assert not (copy.root / ".venv").exists()


def test_a_missing_python_is_named(copy: Copy) -> None:
    run = copy.test("/no/such/python")
    assert run.returncode == 2
    assert run.stderr.startswith("test: Python 3.11 or newer is needed, but /no/such/python is missing.")


def test_a_python_without_venv_says_which_package_has_it(copy: Copy) -> None:
    bare = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; *) exec {real} "$@" ;; esac\n'
    run = copy.test(copy.python("bare", bare))
    assert run.returncode == 2
    assert "lacks the venv module. On Debian and Ubuntu: apt install python3-venv" in run.stderr
