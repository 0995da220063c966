"""A folder of weights: what is in it, what is fetched into it, and nothing used before its sha256 fits."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

import filelock

from .download import FileDigest, Progress, UnreachableError, cannot_store, digest_of
from .errors import WeightsError

Notify = Callable[[str], None]  # takes one plain sentence for the user

NO_RECORD = "has lost the record of its sha256"
LOCK_TIMEOUT_S = 900.0  # another process may be fetching over a slow line


class Origin(Protocol):
    """How weights get from where they are published to a file here."""

    @property
    def digest(self) -> FileDigest:
        """What is sent over the network."""

    def fetch(self, target: Path, progress: Progress) -> None:
        """Put a checked file at `target`, whole or not at all. Raises WeightsError."""

    def expected(self, target: Path) -> FileDigest:
        """What a good copy at `target` is."""


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """Weights that have a name, and all there is to say about them."""

    name: str
    file_name: str  # in the cache
    description: str
    licence: str
    source: str  # where they are published, for people
    origin: Origin


class WeightsState(Enum):
    """What the cache holds."""

    MISSING = "missing"
    VERIFIED = "verified"
    ALTERED = "altered"


@dataclass(frozen=True, slots=True)
class WeightsStatus:
    """One row of `maskstream weights list` and `verify`."""

    known: KnownWeights
    path: Path  # where the file is or would be
    state: WeightsState
    is_default: bool  # what a run without --weights would use now
    flaw: str = ""  # what is wrong with an altered file


class WeightsStore:
    """Known weights and the folder that holds those fetched so far.

    The first known entry is the default, the second stands in for it where it cannot be reached.
    """

    def __init__(
        self, folder: Path, registry: Sequence[KnownWeights], progress: Progress, notify: Notify
    ) -> None:
        self.folder = folder
        self.registry = registry
        self.progress = progress
        self.notify = notify

    def resolve(self, name_or_path: str | Path | None) -> Path:
        """A verified file by name, any file by path, or the default.

        Raises:
            WeightsError: not found, cannot be fetched, altered, or cannot be stored.
        """
        if name_or_path is None:
            return self._default()
        return self.find(name_or_path) or self.pull(self.known(str(name_or_path)))

    def find(self, name_or_path: str | Path | None) -> Path | None:
        """As resolve(), but None where they would have to be fetched.

        Raises:
            WeightsError: not found, or altered.
        """
        if name_or_path is None:
            return next(filter(None, map(self._cached, self.registry)), None)
        text, path = str(name_or_path), Path(name_or_path).expanduser()
        is_name = any(text == known.name for known in self.registry)
        if path.is_file() and not is_name:
            self._note_lookalike(path)
            return path
        return self._cached(self.known(text))

    def pull(self, known: KnownWeights) -> Path:
        """Fetch these weights unless a verified copy is there; an altered one is replaced.

        Raises:
            WeightsError: cannot be fetched, or cannot be stored.
        """
        try:
            return self._fetch(known)
        except UnreachableError as error:
            raise WeightsError(
                f"the weights '{known.name}' could not be fetched ({error}); check the network, "
                "or choose others: maskstream weights list"
            ) from error

    def statuses(self) -> list[WeightsStatus]:
        """What is known, and what the folder holds of it, in the order of the registry."""
        cached = [known for known in self.registry if self.path_of(known).exists()]
        default = (cached or self.registry)[0]
        return [self._status(known, is_default=known is default) for known in self.registry]

    def known(self, text: str) -> KnownWeights:
        """The entry of that name or file name. Raises WeightsError with what comes near."""
        for known in self.registry:
            if text in (known.name, known.file_name):
                return known
        raise self._not_found(text)

    def path_of(self, known: KnownWeights) -> Path:
        """Where the file is or would be."""
        return self.folder / known.file_name

    def _default(self) -> Path:
        official = self.registry[0]
        for known in self.registry:
            if path := self._cached(known):
                if known is not official:
                    self.notify(f"using the weights '{known.name}' from the cache; {self._how_to_official()}")
                return path
        try:
            return self._fetch(official)
        except UnreachableError as error:
            return self._stand_in(error)

    def _stand_in(self, reason: UnreachableError) -> Path:
        official, other = self.registry[:2]
        self.notify(
            f"the weights '{official.name}' could not be fetched ({reason}); "
            f"fetching '{other.name}' instead: {other.description}; licence {other.licence}; "
            f"from {other.source}; {self._how_to_official()}"
        )
        try:
            return self._fetch(other)
        except WeightsError as error:
            raise WeightsError(
                f"no weights could be fetched: '{official.name}': {reason}; '{other.name}': {error}; "
                f"bring {official.file_name} here by other means ({official.source}) and use --weights PATH"
            ) from error

    def _how_to_official(self) -> str:
        official = self.registry[0]
        return f"to have the default, '{official.name}': maskstream weights pull {official.name}"

    def _fetch(self, known: KnownWeights) -> Path:
        """As `pull`, but an UnreachableError stays one."""
        target = self.path_of(known)
        with self._locked(known):
            if not target.exists() or self._flaw(known, target):
                known.origin.fetch(target, self.progress)
        return target

    def _cached(self, known: KnownWeights) -> Path | None:
        """The verified file, None where there is none. Raises WeightsError where it is altered."""
        path = self.path_of(known)
        if not path.exists():
            return None
        if flaw := self._flaw(known, path):
            raise WeightsError(f"{path} {flaw}; fetch it again: maskstream weights pull {known.name}")
        return path

    def _status(self, known: KnownWeights, is_default: bool) -> WeightsStatus:
        path = self.path_of(known)
        if not path.exists():
            return WeightsStatus(known, path, WeightsState.MISSING, is_default)
        flaw = self._flaw(known, path)
        state = WeightsState.ALTERED if flaw else WeightsState.VERIFIED
        return WeightsStatus(known, path, state, is_default, flaw)

    def _flaw(self, known: KnownWeights, path: Path) -> str:
        """Why the file at `path` is not these weights, empty where it is."""
        try:
            expected = known.origin.expected(path)
        except (OSError, ValueError):
            return NO_RECORD
        try:
            found = digest_of(path)
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        return "" if found == expected else f"is truncated or altered: {found}, expected {expected}"

    def _note_lookalike(self, path: Path) -> None:
        """A user's own file may have an official name; say so, for it may also be a broken download."""
        for known in self.registry:
            if path.name == known.file_name and (flaw := self._flaw(known, path)) not in ("", NO_RECORD):
                self.notify(f"{path} is taken as your own checkpoint: as '{known.name}' it {flaw}")

    def _not_found(self, text: str) -> WeightsError:
        path = Path(text).expanduser()
        if path.is_dir():
            return WeightsError(f"{path} is a folder; --weights takes a file or a name")
        names = [known.name for known in self.registry]
        beside = [file.name for file in path.parent.glob("*.pt")] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, [*names, *beside], n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        return WeightsError(f"no file and no known weights '{text}'{hint} (known: {', '.join(names)})")

    @contextmanager
    def _locked(self, known: KnownWeights) -> Iterator[None]:
        """One process fetches, the others wait and find the file done."""
        target = self.path_of(known)
        lock = filelock.FileLock(target.with_name(target.name + ".lock"))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._acquire(lock, known)
        except filelock.Timeout as error:
            raise WeightsError(f"another process has held {lock.lock_file} too long; is it stuck?") from error
        except OSError as error:
            raise cannot_store(target, error) from error
        try:
            yield
        finally:
            lock.release()

    def _acquire(self, lock: filelock.BaseFileLock, known: KnownWeights) -> None:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            self.notify(f"another process is fetching the weights '{known.name}'; waiting for it")
            lock.acquire(timeout=LOCK_TIMEOUT_S)
