from __future__ import annotations

import contextlib
import hashlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from maskstream.model import download as module
from maskstream.model.download import FileDigest, HttpFile, UnreachableError, digest_of, download
from maskstream.model.errors import WeightsError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
DIGEST = FileDigest(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@dataclass
class FileServer:
    """A real HTTP server on this machine whose one file can be made to misbehave."""

    content: bytes = CONTENT
    resumes: bool = True  # honours Range
    cuts_after: list[int] = field(
        default_factory=list
    )  # bytes sent on each next answer before the line is cut
    status: int = 200
    ranges: list[str | None] = field(default_factory=list)  # the Range header of each request
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers["Range"]
        self.ranges.append(asked)
        if self.status != 200:
            handler.send_error(self.status)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.resumes else 0
        if start >= len(self.content):
            handler.send_error(416)
            return
        body = self.content[start:]
        handler.send_response(206 if asked and self.resumes else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        with contextlib.suppress(ConnectionError):  # a client that has seen enough
            handler.wfile.write(body[: self.cuts_after.pop(0)] if self.cuts_after else body)


@pytest.fixture
def server() -> Iterator[FileServer]:
    file_server = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            file_server.answer(self)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, args=(0.01,))
        thread.start()
        file_server.url = f"http://127.0.0.1:{http_server.server_port}/mobile_sam.pt"
        yield file_server
        http_server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "mobile_sam.pt"


@pytest.fixture
def part(target: Path) -> Path:
    return target.with_name("mobile_sam.pt.part")


def test_a_file_arrives_whole_and_nothing_is_left_beside_it(server: FileServer, target: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    download(server.url, target, DIGEST, lambda *step: seen.append(step))
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]
    assert seen[-1] == ("mobile_sam.pt", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_what_an_earlier_attempt_left_is_not_fetched_again(
    server: FileServer, target: Path, part: Path
) -> None:
    part.write_bytes(CONTENT[:700_000])
    download(server.url, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=700000-"]


def test_a_server_that_cannot_resume_makes_a_clean_restart(
    server: FileServer, target: Path, part: Path
) -> None:
    server.resumes = False
    part.write_bytes(CONTENT[:700_000])
    download(server.url, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_a_connection_cut_in_the_middle_is_taken_up_again(server: FileServer, target: Path) -> None:
    server.cuts_after = [300_000, 200_000]
    download(server.url, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=500000-"]


def test_a_line_that_always_breaks_ends_with_an_error_and_keeps_what_came(
    server: FileServer, target: Path, part: Path
) -> None:
    server.cuts_after = [1000] * 3
    with pytest.raises(UnreachableError, match="ended too early, 3 times"):
        download(server.url, target, DIGEST)
    assert not target.exists()
    assert part.read_bytes() == CONTENT[:3000]
    download(server.url, target, DIGEST)
    assert server.ranges[-1] == "bytes=3000-"
    assert target.read_bytes() == CONTENT


def test_an_altered_file_is_refused_and_not_kept(server: FileServer, target: Path, part: Path) -> None:
    server.content = b"x" + CONTENT[1:]
    with pytest.raises(WeightsError, match=f"sent a wrong file: 1,048,576 bytes, .* {DIGEST.sha256[:12]}"):
        download(server.url, target, DIGEST)
    assert not target.exists()
    assert not part.exists()


@pytest.mark.parametrize(
    "leftover",
    [b"x" * 5000, b"x" * len(CONTENT), CONTENT + b"x"],
    ids=["bad beginning", "bad and complete", "too long"],
)
def test_a_bad_leftover_is_thrown_away(server: FileServer, target: Path, part: Path, leftover: bytes) -> None:
    part.write_bytes(leftover)
    download(server.url, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert not part.exists()


def test_a_shorter_file_on_the_server_is_an_error(server: FileServer, target: Path) -> None:
    server.content = b"<html>please log in</html>"  # what a hotel's network answers
    with pytest.raises(UnreachableError, match=r"mobile_sam\.pt: "):
        download(server.url, target, DIGEST)
    assert not target.exists()


def test_an_endless_file_is_not_read_to_the_end(server: FileServer, target: Path) -> None:
    server.content = CONTENT * 20
    seen: list[int] = []
    with pytest.raises(WeightsError, match="sent a wrong file"):
        download(server.url, target, DIGEST, lambda _, done, __: seen.append(done))
    assert max(seen) <= len(CONTENT) + module.CHUNK_BYTES


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusal_says_which(server: FileServer, target: Path, status: int) -> None:
    server.status = status
    with pytest.raises(UnreachableError, match=f"mobile_sam.pt: HTTP {status}"):
        download(server.url, target, DIGEST)
    assert not list(target.parent.iterdir())


def test_nobody_listening_is_unreachable(target: Path) -> None:
    with pytest.raises(UnreachableError, match=r"mobile_sam\.pt: Connection refused"):
        download("http://127.0.0.1:9/mobile_sam.pt", target, DIGEST)


def test_a_server_that_never_answers_is_given_up(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.05)
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent,  # accepts, serves nobody
        pytest.raises(UnreachableError, match="timed out"),
    ):
        download(f"http://127.0.0.1:{silent.server_port}/f", target, DIGEST)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_is_named(server: FileServer, target: Path, part: Path) -> None:
    part.symlink_to("/dev/full")
    with pytest.raises(
        WeightsError, match=r"cannot store .*mobile_sam\.pt: No space left .*MASKSTREAM_CACHE"
    ):
        download(server.url, target, DIGEST)
    assert not target.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="another error there")
def test_a_folder_that_is_none_is_named(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="cannot store .*Not a directory"):
        download(server.url, tmp_path / "file" / "mobile_sam.pt", DIGEST)


def test_digest_of(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    digest = digest_of(tmp_path / "f")
    assert digest.size_bytes == 3
    assert digest.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert str(digest) == "3 bytes, sha256 ba7816bf8f01..."


def test_an_http_file_expects_what_it_fetches(server: FileServer, target: Path) -> None:
    file = HttpFile(server.url, DIGEST)
    file.fetch(target, lambda *_: None)
    assert digest_of(target) == file.expected(target)
