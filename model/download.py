"""One file over HTTP, whole and checked or not at all: resumed after a break, renamed when complete."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import WeightsError

# What is being fetched, bytes so far, bytes in all (None where unknown).
Progress = Callable[[str, int, "int | None"], None]

CONNECT_TIMEOUT_S = 5.0  # of one connection attempt, and of each wait for more data
ATTEMPTS = 3  # a connection cut in the middle is taken up again
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What a file must be, or was found to be."""

    size_bytes: int
    sha256: str  # hex

    def __str__(self) -> str:
        return f"{self.size_bytes:,} bytes, sha256 {self.sha256[:12]}..."


@dataclass(frozen=True, slots=True)
class HttpFile:
    """A file with one address and one known content."""

    url: str
    digest: FileDigest

    def expected(self, target: Path) -> FileDigest:
        """What a good copy at `target` is."""
        return self.digest

    def fetch(self, target: Path, progress: Progress) -> None:
        """See `download`."""
        download(self.url, target, self.digest, progress)


class UnreachableError(WeightsError):
    """The server cannot be reached, refuses, or breaks off: another way to the weights may still work."""


def no_progress(label: str, done_bytes: int, total_bytes: int | None) -> None:
    """Report nothing."""


def digest_of(path: Path) -> FileDigest:
    """Size and sha256 of the file as it lies on the disk."""
    with path.open("rb") as file:
        return FileDigest(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def download(url: str, target: Path, expected: FileDigest, progress: Progress = no_progress) -> None:
    """Fetch `url` to `target`; what an earlier, broken attempt left in `target.part` is not fetched again.

    Raises:
        UnreachableError: no connection, an HTTP error, or a connection that broke again and again.
        WeightsError: the bytes are not the expected ones, or cannot be stored.
    """
    part = target.with_name(target.name + ".part")
    try:
        resumed = part.exists()
        _fetch(url, part, expected, progress)
        if resumed and digest_of(part) != expected:  # what was left over was bad: once more from nothing
            part.unlink()
            _fetch(url, part, expected, progress)
        found = digest_of(part)
        if found != expected:
            part.unlink()
            raise WeightsError(f"{url} sent a wrong file: {found}, expected {expected}; try again later")
        part.replace(target)
    except OSError as error:
        raise cannot_store(target, error) from error


def cannot_store(target: Path, error: OSError) -> WeightsError:
    """The one message for a full disk, missing rights and the like."""
    reason = error.strerror or str(error)
    return WeightsError(
        f"cannot store {target}: {reason}; see that there is room and the right to write, "
        "or choose another folder: MASKSTREAM_CACHE=FOLDER"
    )


class _BrokenOffError(Exception):
    """The connection broke while the file was coming; not an OSError, which here means the disk."""


def _fetch(url: str, part: Path, expected: FileDigest, progress: Progress) -> None:
    """Fill `part` up to the expected size, over as many connections as it is allowed to take."""
    reason = "the connection ended too early"
    for _ in range(ATTEMPTS):
        try:
            if _continue(url, part, expected, progress) >= expected.size_bytes:
                return
        except urllib.error.HTTPError as error:
            error.close()
            raise UnreachableError(f"{url}: HTTP {error.code} {error.reason}") from error
        except urllib.error.URLError as error:  # never got as far as an answer
            reason = getattr(error.reason, "strerror", None) or str(error.reason)
            raise UnreachableError(f"{url}: {reason}") from error
        except _BrokenOffError as error:
            reason = str(error)
    raise UnreachableError(f"{url}: {reason}, {ATTEMPTS} times")


def _continue(url: str, part: Path, expected: FileDigest, progress: Progress) -> int:
    """Add to `part` over one connection, or start it again where the server cannot resume; its size then."""
    done = part.stat().st_size if part.exists() else 0
    if done >= expected.size_bytes:
        return done
    with _open(url, done) as response:
        resumes = response.status == http.HTTPStatus.PARTIAL_CONTENT
        done = done if resumes else 0
        with part.open("ab" if resumes else "wb") as file:
            while done <= expected.size_bytes and (chunk := _read(response)):
                done += file.write(chunk)
                progress(part.stem, done, expected.size_bytes)
    return done


def _open(url: str, offset: int) -> http.client.HTTPResponse:
    headers = {"User-Agent": "maskstream", **({"Range": f"bytes={offset}-"} if offset else {})}
    try:
        request = urllib.request.Request(url, headers=headers)
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S)
    except urllib.error.URLError:
        raise
    except (OSError, http.client.HTTPException) as error:  # reset or garbled while waiting for the answer
        raise urllib.error.URLError(str(error)) from error
    return response


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(f"the connection broke ({error})") from error
