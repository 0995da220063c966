"""What is kept on disk is whole and unaltered, and does not grow for ever."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from maskstream.model.graph_store import GraphStore


def _writer(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "network.xml").write_text(text)
        (folder / "network.bin").write_bytes(b"\0" * 1000)

    return write


@pytest.fixture
def store(tmp_path: Path) -> GraphStore:
    return GraphStore(tmp_path / "graphs", kept=3)


def test_what_is_kept_is_found(store: GraphStore) -> None:
    assert store.find("a") is None
    store.keep("a", _writer("one"))
    folder = store.find("a")
    assert folder is not None
    assert (folder / "network.xml").read_text() == "one"
    assert store.find("b") is None


def test_the_newer_one_replaces_the_older(store: GraphStore) -> None:
    store.keep("a", _writer("one"))
    store.keep("a", _writer("two"))
    folder = store.find("a")
    assert folder is not None
    assert (folder / "network.xml").read_text() == "two"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "network.bin").write_bytes(b"\0" * 999 + b"\1"),
        lambda folder: (folder / "network.bin").write_bytes(b"\0" * 500),
        lambda folder: (folder / "network.xml").unlink(),
        lambda folder: (folder / "sha256").unlink(),
    ],
    ids=["altered", "truncated", "part missing", "seal missing"],
)
def test_what_was_altered_is_not_found(store: GraphStore, spoil: Callable[[Path], None]) -> None:
    store.keep("a", _writer("one"))
    spoil(store.folder / "a")
    assert store.find("a") is None
    store.keep("a", _writer("again"))
    assert store.find("a") is not None


def test_a_write_that_breaks_off_leaves_nothing(store: GraphStore) -> None:
    def write(folder: Path) -> None:
        (folder / "network.xml").write_text("half")
        raise OSError("disk full")

    store.keep("a", write)
    assert store.find("a") is None
    assert list(store.folder.iterdir()) == []


def test_the_least_used_are_deleted(store: GraphStore) -> None:
    for age, key in enumerate("abc"):
        store.keep(key, _writer(key))
        os.utime(store.folder / key, (1000 + age, 1000 + age))
    assert store.find("a") is not None  # used now, so b is the oldest
    store.keep("d", _writer("d"))
    assert sorted(path.name for path in store.folder.iterdir()) == ["a", "c", "d"]


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = GraphStore(tmp_path / "file" / "graphs")
    store.keep("a", _writer("one"))
    assert store.find("a") is None
