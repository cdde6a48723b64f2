"""What a power cut leaves of files: nothing of what was written after their last completed sync.

The writes come from strace's record of the process that wrote. What was not synced is zeroed, which is less than a
real disk would keep: SQLite may count on nothing of it.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LINE: Final = re.compile(r"(?P<pid>\d+) +(?P<rest>.*)")
WRITE: Final = re.compile(r"pwrite64\(\d+<(?P<path>[^>]*)>, .*, (?P<length>\d+), (?P<offset>\d+)")
SYNC: Final = re.compile(r"f(?:data)?sync\(\d+<(?P<path>[^>]*)>(?P<tail>.*)")
RESUMED: Final = re.compile(r"<\.\.\. f(?:data)?sync resumed>.*= 0")


@dataclass(slots=True)
class Unsynced:
    """Of one file: the writes since its last completed sync, as offset and length."""

    writes: list[tuple[int, int]] = field(default_factory=list)

    def synced(self, first: int) -> None:
        """The first so many of them are on the disk."""
        del self.writes[:first]


def unsynced(lines: Iterable[str]) -> dict[str, list[tuple[int, int]]]:
    """By path, the writes that no completed sync came after. A sync covers what was written before it began."""
    files: dict[str, Unsynced] = {}
    syncing: dict[str, tuple[str, int]] = {}
    for line in lines:
        parts = LINE.match(line)
        if parts is None:
            continue
        pid, rest = parts["pid"], parts["rest"]
        if write := WRITE.match(rest):
            found = files.setdefault(write["path"], Unsynced())
            found.writes.append((int(write["offset"]), int(write["length"])))
        elif sync := SYNC.match(rest):
            found = files.setdefault(sync["path"], Unsynced())
            if sync["tail"].endswith("= 0"):
                found.synced(len(found.writes))
            else:
                syncing[pid] = (sync["path"], len(found.writes))
        elif RESUMED.match(rest) and pid in syncing:
            path, covered = syncing.pop(pid)
            files[path].synced(covered)
    return {path: file.writes for path, file in files.items() if file.writes}


def lose(trace: Path, of: Path) -> int:
    """Zeroes what the traced process wrote to ``of`` and its companions and did not sync; how many writes that were."""
    count = 0
    with trace.open(errors="replace") as lines:
        lost = unsynced(lines)
    for path, writes in lost.items():
        if not path.startswith(str(of)) or path.endswith("-shm") or not Path(path).exists():
            continue
        with Path(path).open("r+b") as file:
            end = os.fstat(file.fileno()).st_size
            for offset, length in writes:
                file.seek(offset)
                file.write(bytes(max(0, min(length, end - offset))))
                count += 1
    of.with_name(f"{of.name}-shm").unlink(missing_ok=True)  # memory, which is empty after a power cut
    return count
