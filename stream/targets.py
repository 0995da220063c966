"""Is this place writable? Asked before any work is done, and without leaving a trace."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from maskstream.model.errors import SinkError

_PROBE = bytes(64 * 1024)  # large enough that a full disk refuses it
_CURES = {
    errno.ENOSPC: "free some space or choose another disk",
    errno.EDQUOT: "free some space or choose another disk",
    errno.EFBIG: "the file size limit is reached (ulimit -f)",
    errno.EROFS: "the file system is read-only, choose another place",
    errno.EACCES: "choose a place you may write to",
    errno.EPERM: "choose a place you may write to",
}


def cannot_write(path: Path, error: OSError) -> SinkError:
    """The one-line error for a failed write: which file, why, what to do."""
    cure = _CURES.get(error.errno or 0, "choose another place")
    return SinkError(f"cannot write {path}: {error.strerror or error}; {cure}")


def check_file(path: Path) -> None:
    """See that `path` can be created or replaced. An existing file is left as it is.

    Raises:
        SinkError: it is a folder, its folder is missing, or it cannot be written.
    """
    if path.is_dir():
        raise SinkError(f"cannot write {path}: it is a folder; give the name of a file")
    check_folder(path.parent)
    if path.exists():
        try:
            path.open("ab").close()
        except OSError as error:
            raise cannot_write(path, error) from error


def check_folder(folder: Path) -> None:
    """See that files can be created in `folder`, which must exist.

    Raises:
        SinkError: it is missing, not a folder, not writable, or its disk is full.
    """
    if not folder.exists():
        raise SinkError(f"the folder {folder} does not exist; create it: mkdir -p {folder}")
    if not folder.is_dir():
        raise SinkError(f"{folder} is not a folder; choose another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise cannot_write(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(_PROBE)
            probe.flush()
    except OSError as error:
        raise cannot_write(folder, error) from error
