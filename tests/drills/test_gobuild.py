"""`make tools-e2e` builds what is pinned, once, and says what is missing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from drills.stack.process import ROOT
from tests.drills.test_tools import script
from tools.gomodules import MODULES, GoModule

GO = """\
echo "$@" >> "{log}"
case "$1 $2" in
  "env GOVERSION") echo go{version} ;;
  "list "*) printf 'a\\nb\\n' ;;
  "mod download") echo '{{"Dir": "{source}"}}' ;;
  "build "*)
    while [ "$1" != -o ]; do shift; done
    {build}
    ;;
esac
"""


def run(tmp_path: Path, *modules: str, version: str = "1.26.8", build: str = 'echo binary > "$2"') -> tuple[int, str]:
    """Build with a go that only pretends, in a copy of the tools with a cache of its own."""
    clone, source = tmp_path / "clone", tmp_path / "source"
    for file in (*ROOT.glob("tools/*.py"), *ROOT.glob("tools/*/go.*")):
        target = clone / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    for name in ("kustomize/stage/node/fast/node-initialize.yaml", "kustomize/stage/stage_test.go"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("kind: Stage\n")
    path = tmp_path / "path"
    path.mkdir(exist_ok=True)
    if version:
        script(path / "go", GO.format(log=tmp_path / "log", version=version, source=source, build=build))
    done = subprocess.run(
        [sys.executable, "-m", "tools.gobuild", *modules],
        cwd=clone,
        env={"PATH": f"{path}:/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path / "cache"), "GOFLAGS": "-mod=mod"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def builds(tmp_path: Path) -> int:
    return sum(line.startswith("build") for line in (tmp_path / "log").read_text().splitlines())


def test_everything_is_built_once_and_linked(tmp_path: Path) -> None:
    assert run(tmp_path)[0] == 0
    programs = {program.name for module in MODULES if not module.on_demand for program in module.programs}
    assert {link.name for link in (tmp_path / "clone/.tools/bin").iterdir()} == programs
    assert builds(tmp_path) == len(programs)
    assert run(tmp_path)[0] == 0
    assert builds(tmp_path) == len(programs)
    assert all("-mod=readonly" in line for line in (tmp_path / "log").read_text().splitlines() if "build" in line)


def test_kwok_finds_its_stages_beside_itself(tmp_path: Path) -> None:
    assert run(tmp_path, "kwok")[0] == 0
    beside = (tmp_path / "clone/.tools/bin/kwok").resolve().parent / "stage"
    assert [file.relative_to(beside).as_posix() for file in beside.rglob("*.*")] == ["node/fast/node-initialize.yaml"]


def test_another_go_or_other_pins_build_anew(tmp_path: Path) -> None:
    assert run(tmp_path, "kwok")[0] == 0
    assert run(tmp_path, "kwok", version="1.27.0")[0] == 0
    assert builds(tmp_path) == 2


def test_a_build_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    code, said = run(tmp_path, "kwok", build='echo half > "$2"; echo "no space left on device" >&2; exit 1')
    assert code == 1
    assert "kwok v0.8.0 does not build:\nno space left on device" in said
    assert not list((tmp_path / "cache/ballast/go").glob("*kwok-*"))
    assert run(tmp_path, "kwok")[0] == 0


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("", "there is no go on PATH"),
        ("1.25.9", "the go on PATH is 1.25.9, and k8s.io/kubernetes v1.36.3 needs 1.26.0 or newer"),
    ],
)
def test_a_go_that_is_missing_or_too_old_is_said(version: str, words: str, tmp_path: Path) -> None:
    if not version and any(os.access(f"{folder}/go", os.X_OK) for folder in ("/usr/bin", "/bin")):
        pytest.fail("this test needs a machine without /usr/bin/go")
    code, said = run(tmp_path, "kubernetes", version=version)
    assert code == 1
    assert words in said
    assert "run `make tools-e2e` again" in said


def test_a_module_that_is_not_there_is_said(tmp_path: Path) -> None:
    code, said = run(tmp_path, "kubernetes-1.20")
    assert code == 2
    assert "kubernetes-1.20; there are etcd, kwok, kubernetes, kubernetes-1.33" in said


@pytest.mark.parametrize("module", [each for each in MODULES if each.replaces], ids=lambda module: module.name)
def test_each_staging_module_is_of_kubernetes_own_version(module: GoModule) -> None:
    manifest = (module.folder / "go.mod").read_text()
    replaced = dict(re.findall(r"^\t(\S+) => \1 (\S+)$", manifest, re.MULTILINE))
    assert {"k8s.io/api", "k8s.io/apiserver", "k8s.io/client-go"} <= replaced.keys()
    assert set(replaced.values()) == {module.version.replace("v1.", "v0.")}
