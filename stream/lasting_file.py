"""A file that survives its writer's mishaps."""

from __future__ import annotations

import io
from pathlib import Path

from .targets import cannot_write


class LastingFile(io.FileIO):
    """A new file that keeps what it has: once a write has failed nothing more is written; ask check().

    A muxer that met a full disk would still go back to the file's head and point it at what is not there.
    What was torn is cut off: the file ends where check() last found it well.

    Raises:
        SinkError: the file cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        self._whole_bytes = 0
        self._path = path
        try:
            super().__init__(path, "w")
        except OSError as error:
            raise cannot_write(path, error) from error

    def check(self) -> None:
        """See that all writes went well; to be asked where the file's content is whole.

        Raises:
            SinkError: one did not.
        """
        if self.error is not None:
            raise cannot_write(self._path, self.error) from self.error
        self._whole_bytes = self.tell()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write all of it, or note the error."""
        rest = memoryview(data)
        try:
            while rest and self.error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
            self.truncate(self._whole_bytes)
        return len(data)
