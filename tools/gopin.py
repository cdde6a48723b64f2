"""Pins what `make tools-e2e` builds: writes tools/NAME/go.mod and go.sum.

    python -m tools.gopin kubernetes v1.36.4

Kubernetes publishes its staging modules (k8s.io/api and so on) under versions of their own, but requires them as
v0.0.0 from folders beside it. Whoever builds a program of it elsewhere must replace each by the version that belongs
to it: v0.36.4 for v1.36.4.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tools.gomodules import MODULES, GoError, GoModule, go


def pin(module: GoModule, version: str) -> None:
    """Write go.mod and go.sum for that version of the module, when it can be had whole. Raises `GoError`."""
    with TemporaryDirectory() as name:
        scratch = Path(name)
        manifest = own_manifest(module, version)
        (scratch / "go.mod").write_text(skeleton(module, version, manifest))
        packages = sorted(f"{program.package}@{version}" for program in module.programs)
        # Not `go mod tidy`: it would also pin what only the tests of all those packages need.
        go("get", "-tool", *packages, folder=scratch, timeout=1800)
        module.folder.mkdir(exist_ok=True)
        for file in ("go.mod", "go.sum"):
            (module.folder / file).write_text((scratch / file).read_text())


def own_manifest(module: GoModule, version: str) -> dict[str, Any]:
    """The module's go.mod, as `go mod edit -json` gives it."""
    download = json.loads(go("mod", "download", "-json", f"{module.path}@{version}", timeout=600))
    manifest: dict[str, Any] = json.loads(go("mod", "edit", "-json", download["GoMod"], timeout=60))
    return manifest


def skeleton(module: GoModule, version: str, manifest: dict[str, Any]) -> str:
    """A go.mod without requirements."""
    lines = [
        f"// Written by: python -m tools.gopin {module.name} {version}",
        f"module kube-ballast/tools/{module.name}",
    ]
    lines.append(f"go {manifest['Go']}")
    # What a program is built with by default depends on the main module, which here is ours and not theirs.
    lines += [f"godebug {each['Key']}={each['Value']}" for each in manifest.get("Godebug") or ()]
    if module.replaces:
        own = "v0." + version.removeprefix("v1.")
        paths = (each["Old"]["Path"] for each in manifest["Replace"])
        lines.append("replace (\n" + "".join(f"\t{path} => {path} {own}\n" for path in paths) + ")")
    return "\n\n".join(lines) + "\n"


def main() -> int:
    """Give 0 when the module is pinned, 1 with the reason on stderr when not."""
    modules = {module.name: module for module in MODULES}
    if len(sys.argv) != 3 or sys.argv[1] not in modules:
        print(f"usage: python -m tools.gopin {'|'.join(modules)} VERSION", file=sys.stderr)
        return 2
    try:
        pin(modules[sys.argv[1]], sys.argv[2])
    except GoError as error:
        print(f"tools.gopin: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
