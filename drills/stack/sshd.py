"""An ssh server on loopback with keys of its own: this machine as a host that is reached by ssh.

As root it lets root in. Debian's sshd then wants a folder and a user of its own, which it gets in a mount namespace of
its own: nothing of the system is written. As anybody else it lets that one in.
"""

import getpass
import os
import pwd
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from drills.stack.ground import LOOPBACK, Ground
from drills.stack.process import Component, Probe, Process, tool

SEPARATED = "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin"
"""The user that sshd's part without rights has, where the system has none."""
ISOLATED = """\
mount --bind "$1" /etc/passwd && mount -t tmpfs -o mode=755 tmpfs /run && mkdir -m 755 /run/sshd && shift && exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Sshd:
    """Where it listens, who may come in with which key, and the file with its own key for those who do."""

    port: int
    user: str
    key: Path
    known_hosts: Path
    process: Process


def start_sshd(ground: Ground, *, options: Sequence[str] = ()) -> Sshd:
    """Start one; ready means that it greets. ``options`` are lines of its configuration, before our own."""
    folder, port = ground.data("sshd"), ground.port()
    host = _key(folder / "host")
    (folder / "authorized_keys").write_text(f"{_key(folder / 'client')}\n")
    (folder / "known_hosts").write_text(f"[{LOOPBACK}]:{port} {host}\n")
    program = tool("sshd")
    (folder / "sshd_config").write_text("\n".join([*options, *_lines(folder, port, program.resolve())]) + "\n")
    server = (str(program.resolve()), "-D", "-e", "-f", str(folder / "sshd_config"))
    component = Component(
        name=folder.name,
        program=Path("/usr/bin/unshare") if os.getuid() == 0 else Path(server[0]),
        arguments=_isolated(folder, server) if os.getuid() == 0 else server[1:],
        ready=_greets(port),
    )
    user = getpass.getuser() if os.getuid() else "root"
    return Sshd(port, user, folder / "client", folder / "known_hosts", ground.run(component)[0])


def _lines(folder: Path, port: int, program: Path) -> list[str]:
    parts = program.parent.parent / "usr" / "lib" / "openssh"
    helpers = (("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth"))
    return [
        f"ListenAddress {LOOPBACK}:{port}",
        f"HostKey {folder}/host",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        f"PidFile {folder}/pid",
        "PermitRootLogin prohibit-password",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "StrictModes no",
        "AllowTcpForwarding yes",
        # Since 9.8 sshd is several programs, and since 10 one more: a copy has to be told where they are.
        *(f"{option} {parts / name}" for option, name in helpers if (parts / name).exists()),
    ]


def _isolated(folder: Path, server: Sequence[str]) -> tuple[str, ...]:
    entries = Path("/etc/passwd").read_text().rstrip("\n").splitlines()
    if not any(each.pw_name == "sshd" for each in pwd.getpwall()):
        entries.append(SEPARATED)
    (folder / "passwd").write_text("\n".join(entries) + "\n")
    return ("--mount", "/bin/sh", "-c", ISOLATED, "sh", str(folder / "passwd"), *server)


def _key(file: Path) -> str:
    """Writes a fresh key; gives its public half."""
    key = Ed25519PrivateKey.generate()
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _greets(port: int) -> Probe:
    def ask() -> str | None:
        try:
            with socket.create_connection((LOOPBACK, port), timeout=1.0) as line:
                said = line.recv(16)
        except OSError as error:
            return f"{LOOPBACK}:{port}: {error}"
        return None if said.startswith(b"SSH-2.0") else f"{LOOPBACK}:{port} says {said!r}"

    return ask
