"""Builds alerts/ and dashboards/ from mixin/; `make generate` runs it without options.

    python -m tools.mixin [--out DIR] [--config-json JSON] [--config FILE.libsonnet] [--check]

Drills build the same rules with short intervals into a folder of their own:

    python -m tools.mixin --out DIR --config-json '{"compactionIntervalSeconds": 10, "predictedCriticalFor": "5s"}'
"""

import argparse
import difflib
import io
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import _gojsonnet
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

ROOT = Path(__file__).resolve().parent.parent
MIXIN = ROOT / "mixin"
HEADER = "# Generated from mixin/ by `make generate`: edit there, not here.\n"
ACTIONS = ".actions"
"""Suffix of the rule groups that hold action alerts; who runs no remediator leaves their file out."""

RENDER = """
local given = { _config:: {} } + (%(file)s) + { _config+:: std.extVar('overrides') };
local mixin = (import 'mixin.libsonnet') + (%(file)s) + { _config+:: std.extVar('overrides') };
{
  knobs: std.objectFields((import 'config.libsonnet')._config),
  given: std.objectFields(given._config),
  alerts: mixin.prometheusAlerts,
  rules: mixin.prometheusRules,
  dashboards: mixin.grafanaDashboards,
  alertmanager: mixin.alertmanager,
}
"""


class MixinError(Exception):
    """The mixin cannot be built; the message says which file, line or knob is at fault."""


def build(out: Path, overrides: Mapping[str, object] | None = None, config: Path | None = None) -> list[Path]:
    """Writes out/alerts/*.yaml and out/dashboards/*.json and returns their paths, sorted.

    Args:
        out: created where missing. Generated files in it that the mixin no longer makes are removed.
        overrides: knobs of mixin/config.libsonnet by name, such as `{"compactionIntervalSeconds": 10}`.
        config: a jsonnet file with `{ _config+:: { ... } }`, applied before the overrides.

    Raises:
        MixinError: jsonnet rejects the sources, or a knob does not exist.
    """
    rendered = _render(dict(overrides or {}), config)
    written = []
    for name, text in sorted(rendered.items()):
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    for stale in _generated_files(out) - set(rendered):
        (out / stale).unlink()
    return written


def drift(out: Path) -> str:
    """Unified diff from the generated files in `out` to what mixin/ makes now; empty when they agree."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        build(fresh)
        names = sorted(_generated_files(out) | _generated_files(fresh))
        return "".join(line for name in names for line in _diff(name, out / name, fresh / name))


def _render(overrides: dict[str, object], config: Path | None) -> dict[str, str]:
    snippet = f"import {json.dumps(str(config.resolve()))}" if config else "{}"
    try:
        output = _gojsonnet.evaluate_snippet(
            "mixin",
            RENDER % {"file": snippet},
            jpathdir=str(MIXIN),
            ext_codes={"overrides": json.dumps(overrides)},
        )
    except RuntimeError as error:
        raise MixinError(f"jsonnet: {error}") from error
    tree = json.loads(output)
    if unknown := sorted(set(tree["given"]) - set(tree["knobs"])):
        raise MixinError(f"no such knob: {', '.join(unknown)}. mixin/config.libsonnet has: {', '.join(tree['knobs'])}")
    return dict(_files(tree))


def _files(tree: Mapping[str, Mapping[str, object]]) -> Iterator[tuple[str, str]]:
    groups = tree["alerts"]["groups"]
    if not isinstance(groups, list):
        raise MixinError("prometheusAlerts.groups is no list")
    pages = [group for group in groups if not group["name"].endswith(ACTIONS)]
    actions = [group for group in groups if group["name"].endswith(ACTIONS)]
    yield "alerts/ballast-alerts.yaml", _yaml({"groups": pages})
    if actions:
        yield "alerts/ballast-actions.yaml", _yaml({"groups": actions})
    yield "alerts/ballast-rules.yaml", _yaml(tree["rules"])
    yield "alerts/alertmanager-inhibit-rules.yaml", _yaml(tree["alertmanager"]["inhibitRules"])
    yield "alerts/alertmanager-route-example.yaml", _yaml(tree["alertmanager"]["routeExample"])
    for name, dashboard in tree["dashboards"].items():
        yield f"dashboards/{name}", json.dumps(dashboard, indent=2, sort_keys=True) + "\n"


def _yaml(tree: object) -> str:
    writer = YAML()
    writer.width = 4096
    writer.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    writer.dump(_literal(tree), text)
    return HEADER + text.getvalue()


def _literal(tree: object) -> object:
    """The same tree with text of several lines (expressions) as YAML blocks, the way people write rules."""
    if isinstance(tree, dict):
        return {key: _literal(tree[key]) for key in sorted(tree, key=_rank)}
    if isinstance(tree, list):
        return [_literal(item) for item in tree]
    if isinstance(tree, str) and "\n" in tree:
        return LiteralScalarString(tree)
    return tree


FIRST_KEYS = ("name", "alert", "record", "interval", "expr", "for", "keep_firing_for", "labels", "annotations")


def _rank(key: str) -> tuple[int, str]:
    return (FIRST_KEYS.index(key) if key in FIRST_KEYS else len(FIRST_KEYS), key)


def _generated_files(out: Path) -> set[str]:
    return {
        str(path.relative_to(out))
        for pattern in ("alerts/*.yaml", "dashboards/*.json")
        for path in out.glob(pattern)
        if path.is_file()
    }


def _diff(name: str, old: Path, new: Path) -> Iterator[str]:
    def lines(path: Path) -> list[str]:
        return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []

    return difflib.unified_diff(lines(old), lines(new), f"committed/{name}", f"generated/{name}")


def _overrides(text: str) -> dict[str, object]:
    overrides = json.loads(text)
    if not isinstance(overrides, dict):
        raise argparse.ArgumentTypeError('knobs are given as one JSON object, such as {"scrapeIntervalSeconds": 5}')
    return overrides


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.mixin", description="Build alerts/ and dashboards/ from mixin/."
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT, help="folder to write alerts/ and dashboards/ into (default: the project)"
    )
    parser.add_argument(
        "--config-json", type=_overrides, default={}, metavar="JSON", help="knobs to override, as one JSON object"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="jsonnet file with { _config+:: { ... } } to override"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when the generated files are not what mixin/ makes"
    )
    options = parser.parse_args(arguments)
    try:
        if options.check:
            difference = drift(options.out)
            if difference:
                sys.stderr.write(difference)
                print("The generated files differ from what mixin/ makes: run make generate", file=sys.stderr)
            return 1 if difference else 0
        for path in build(options.out, options.config_json, options.config):
            print(path)
    except MixinError as error:
        print(f"mixin: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
