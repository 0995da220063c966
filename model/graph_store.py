"""Networks made ready for an engine, kept on disk: written whole or not at all, read only if unaltered."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

KEPT = 16  # a network and its weights are some 20 MB
_SEAL = "sha256"


class GraphStore:
    """A folder with one subfolder per network; the least used ones are deleted.

    Args:
        folder: made when something is first kept.
        kept: how many networks may stay.
    """

    def __init__(self, folder: Path, kept: int = KEPT) -> None:
        self.folder = folder
        self._kept = kept

    def find(self, key: str) -> Path | None:
        """The folder of a network, None where there is none or it was altered."""
        folder = self.folder / key
        try:
            if (folder / _SEAL).read_text() != _digest(folder):
                return None
            os.utime(folder)
        except OSError:
            return None
        return folder

    def keep(self, key: str, write: Callable[[Path], None]) -> None:
        """Keep what `write` puts into the folder it is given. A disk that takes nothing is no error."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as new:
                content = Path(new) / key
                content.mkdir()
                write(content)
                (content / _SEAL).write_text(_digest(content))
                shutil.rmtree(self.folder / key, ignore_errors=True)
                content.rename(self.folder / key)
            self._prune()

    def _prune(self) -> None:
        entries = [entry for entry in self.folder.iterdir() if (entry / _SEAL).exists()]
        for entry in sorted(entries, key=lambda entry: entry.stat().st_mtime)[: -self._kept]:
            shutil.rmtree(entry, ignore_errors=True)


def _digest(folder: Path) -> str:
    """sha256 over the names and contents of the files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.name != _SEAL:
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
