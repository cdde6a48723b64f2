"""Who descends from a process, and what they have used, as /proc tells it."""

import os
from pathlib import Path


def descendants(pid: int) -> frozenset[int]:
    """Pids of the process's children and their children, without itself. What ends meanwhile is left out."""
    parents = {child: parent for child, parent, *_ in _table()}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return frozenset(found - {pid})


def groups_of(pid: int) -> frozenset[int]:
    """Process groups of its descendants, without the process's own."""
    groups = {child: group for child, _, group, _ in _table()}
    return frozenset(groups[each] for each in descendants(pid) if each in groups) - {groups.get(pid, pid)}


def members(group: int) -> dict[int, int]:
    """Pids of a process group, with their parents'."""
    return {pid: parent for pid, parent, of, state in _table() if of == group and state != "Z"}


def alive(group: int) -> bool:
    """Whether a process of that group runs; one that only waits for being reaped does not."""
    return bool(members(group))


def cpu_seconds(pid: int) -> float:
    """Of all threads of a process, and of the processes that it has started: proc(5), /proc/PID/stat."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") + sum(cpu_seconds(int(child)) for child in children)


def _table() -> tuple[tuple[int, int, int, str], ...]:
    """Pid, parent, group and state of every process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found.append((int(entry.name), int(fields[1]), int(fields[2]), fields[0]))
    return tuple(found)
