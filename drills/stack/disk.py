"""A small disk of its own: a tmpfs, which only root can mount."""

import errno
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

FILLER: Final = "filler"
CHUNK: Final = bytes(1 << 20)
PAGE: Final = bytes(1 << 12)


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """``folder`` is its root; ``small`` is False where nobody may mount one: then it is a folder like any other."""

    folder: Path
    small: bool

    @classmethod
    def mounted(cls, folder: Path, mib: int) -> Self:
        """Onto an empty folder."""
        if os.geteuid() != 0:
            return cls(folder, small=False)
        options = f"size={mib}m,mode=0711"
        done = subprocess.run(
            ("mount", "-t", "tmpfs", "-o", options, "ballast-drill", folder),
            check=False,
            capture_output=True,
            timeout=20,
        )
        return cls(folder, small=done.returncode == 0)

    def fill(self) -> None:
        """Until nobody gets another page."""
        assert self.small, "a disk that others use is not filled"
        with (self.folder / FILLER).open("ab", buffering=0) as file:
            for piece in (CHUNK, PAGE):
                try:
                    while True:
                        file.write(piece)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def empty(self) -> None:
        (self.folder / FILLER).unlink(missing_ok=True)
