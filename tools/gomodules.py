"""The Go programs of the end-to-end tests: which modules they come from, pinned in tools/NAME/go.mod and go.sum."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class GoError(Exception):
    """Why nothing could be built or pinned, in words; nothing was changed."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """One program: its name in .tools/bin, and the package that is built."""

    name: str
    package: str


@dataclass(frozen=True, slots=True)
class GoModule:
    """A module with the programs taken from it.

    Attributes:
        name: of the folder in tools/ with its go.mod.
        path: the module that carries the version.
        programs: what is built.
        replaces: whether it requires modules as v0.0.0 from folders beside it, as Kubernetes does.
        stamps: variables that get the version when they are linked, `{version}`, `{major}` and `{minor}` filled in.
        beside: a folder of the module whose YAML files belong beside the programs.
        on_demand: whether it is built only when its folder is named.
    """

    name: str
    path: str
    programs: tuple[GoProgram, ...]
    replaces: bool = False
    stamps: tuple[str, ...] = ()
    beside: str | None = None
    on_demand: bool = False

    @property
    def folder(self) -> Path:
        return ROOT / "tools" / self.name

    @property
    def version(self) -> str:
        """Such as `v1.36.3`, as go.mod pins it."""
        return self._pinned(rf"^\s*(?:require )?{re.escape(self.path)} (v\S+)")

    @property
    def language(self) -> str:
        """The oldest Go that builds it, such as `1.26.0`, as go.mod says."""
        return self._pinned(r"^go (\S+)")

    def _pinned(self, pattern: str) -> str:
        manifest = self.folder / "go.mod"
        found = re.search(pattern, manifest.read_text(), re.MULTILINE)
        if found is None:
            raise GoError(f"{manifest} does not say which version of {self.path} is wanted")
        return found[1]


_KUBERNETES_STAMPS = tuple(
    f"k8s.io/component-base/version.{variable}"
    for variable in ("gitVersion={version}", "gitMajor={major}", "gitMinor={minor}", "gitTreeState=clean")
)

MODULES = (
    GoModule(
        "etcd",
        "go.etcd.io/etcd/server/v3",
        (
            GoProgram("etcd-3.6", "go.etcd.io/etcd/server/v3"),
            GoProgram("etcdutl-3.6", "go.etcd.io/etcd/etcdutl/v3"),
        ),
    ),
    GoModule(
        "kwok",
        "sigs.k8s.io/kwok",
        (GoProgram("kwok", "sigs.k8s.io/kwok/cmd/kwok"),),
        stamps=("sigs.k8s.io/kwok/pkg/consts.Version={version}",),
        beside="kustomize/stage",
    ),
    GoModule(
        "kubernetes",
        "k8s.io/kubernetes",
        (
            GoProgram("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            GoProgram("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        ),
        replaces=True,
        stamps=_KUBERNETES_STAMPS,
    ),
    GoModule(
        "kubernetes-1.33",
        "k8s.io/kubernetes",
        (GoProgram("kube-apiserver-1.33", "k8s.io/kubernetes/cmd/kube-apiserver"),),
        replaces=True,
        stamps=_KUBERNETES_STAMPS,
        on_demand=True,
    ),
)


def go(*arguments: str, folder: Path = ROOT, env: Mapping[str, str] | None = None, timeout: float) -> str:
    """Run the go command in the folder and give its output. Raises `GoError`."""
    try:
        done = subprocess.run(
            ("go", *arguments),
            cwd=folder,
            env={**os.environ, **(env or {})},
            timeout=timeout,
            check=False,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise GoError("there is no go on PATH") from None
    except subprocess.TimeoutExpired:
        raise GoError(f"`go {arguments[0]}` was not done within {timeout:g} s") from None
    if done.returncode != 0:
        raise GoError(f"`go {' '.join(arguments)}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
