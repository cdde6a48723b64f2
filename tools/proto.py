"""Makes lib/kube_ballast/clients/etcd/rpc_pb2.py(i) from rpc.proto, in an environment of its own.

The generator pins a protobuf older than the one Ballast runs on (what an old generator made loads on newer runtimes,
not the other way round), so it must not share Ballast's environment. The environment is built from tools/proto.lock,
by hash, and built anew when the lock changes.

    proto.py                 regenerate in place
    proto.py --into FOLDER   regenerate below FOLDER, for a comparison
    proto.py --check         regenerate into a temporary folder and compare; exit 1 when the committed files differ
"""

import argparse
import filecmp
import hashlib
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "tools" / "proto.lock"
ENVIRONMENT = ROOT / ".tools" / "proto-venv"
SOURCES = ROOT / "lib"
PROTO = Path("kube_ballast/clients/etcd/rpc.proto")


def _generator() -> Path:
    """The Python that has grpcio-tools in exactly the locked version."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / "lock.sha256"
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if not (stamp.exists() and stamp.read_text() == digest):
        print("building the environment of the proto generator ...", file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "--requirement", str(LOCK)], check=True)
        stamp.write_text(digest)
    return python


def generate(folder: Path) -> tuple[Path, ...]:
    """Writes the generated files below ``folder`` and returns their paths relative to it."""
    folder.mkdir(parents=True, exist_ok=True)
    protoc = [str(_generator()), "-m", "grpc_tools.protoc", f"--proto_path={SOURCES}"]
    subprocess.run([*protoc, f"--python_out={folder}", f"--pyi_out={folder}", str(PROTO)], check=True)
    return tuple(PROTO.with_name(f"rpc_pb2{suffix}") for suffix in (".py", ".pyi"))


def drift() -> tuple[Path, ...]:
    """The committed files that are not what the generator makes of rpc.proto."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return tuple(
            path
            for path in generate(folder)
            if not (SOURCES / path).exists() or not filecmp.cmp(folder / path, SOURCES / path, shallow=False)
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Generate the etcd client's protobuf code.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--into", type=Path, default=SOURCES, help="folder to generate below (default: lib)")
    choice.add_argument("--check", action="store_true", help="compare with the committed files instead")
    arguments = parser.parse_args()
    if not arguments.check:
        generate(arguments.into)
        return 0
    differing = drift()
    for path in differing:
        print(f"lib/{path} is not what rpc.proto generates: run `make generate` and commit it", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
