"""What Linux knows of a process: memory, CPU time, threads, open files; not a script itself."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class ProcessState:
    """One process at one moment."""

    resident_mib: float
    cpu_s: float  # since it began, in all its threads
    threads: int
    files: int  # open ones, sockets included


def look_at(pid: int) -> ProcessState:
    """How a process is doing.

    Raises:
        OSError: it is gone.
    """
    folder = Path(f"/proc/{pid}")
    fields = (folder / "stat").read_text().rpartition(")")[2].split()  # names may hold blanks and brackets
    return ProcessState(
        resident_mib=int(fields[21]) * _PAGE / 2**20,
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS,
        threads=int(fields[17]),
        files=sum(1 for _ in (folder / "fd").iterdir()),
    )
