"""What the documents say is so: keys and defaults, examples, links, commands, and the chain through the code."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML

from ballast_exporter import config as exporter
from ballast_exporter import webconfig
from ballast_remediator import config as remediator
from ballast_remediator import config_apiservers, policy, tokens
from drills.stack import tool
from kube_ballast import config as shared
from kube_ballast import configfile

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = ROOT / "docs/configuration.md"
SECTIONS: dict[str, type[BaseModel]] = {
    "Exporter": exporter.Config,
    "Log": exporter.LogConfig,
    "Apiservers": exporter.ApiserversConfig,
    "Audit": exporter.AuditConfig,
    "TLS of the audit sink": exporter.AuditTLS,
    "Kubernetes": shared.KubernetesConfig,
    "Collectors": exporter.CollectorsConfig,
    "Collector": exporter.CollectorConfig,
    "Census": exporter.EtcdKeyspaceConfig,
    "Requests": exporter.ApiserverRequestsConfig,
    "Clients": exporter.ApiserverClientsConfig,
    "Stall": exporter.GrpcStallConfig,
    "Web configuration": webconfig.WebConfig,
    "TLS of the exporter": webconfig.TLSServerConfig,
    "Remediator": remediator.Config,
    "TLS of the remediator": remediator.ServerTLS,
    "Store": remediator.StoreConfig,
    "Snapshots": remediator.SnapshotsConfig,
    "Cluster": remediator.ClusterConfig,
    "Apiservers of a cluster": config_apiservers.ApiserversConfig,
    "Apiserver": config_apiservers.ApiserverConfig,
    "Restart": config_apiservers.RestartConfig,
    "Hosts": shared.HostsConfig,
    "Nodes": shared.NodesConfig,
    "SSH": shared.SshConfig,
    "Runbooks": remediator.RunbooksConfig,
    "etcd-free-space": remediator.EtcdFreeSpaceSettings,
    "etcd-defrag": remediator.EtcdDefragSettings,
    "apiserver-cut-etcd-connections": remediator.CutSettings,
    "apiserver-restart": remediator.RestartSettings,
    "Engine": remediator.EngineSettings,
    "Notices": remediator.NoticesConfig,
    "Heartbeat": remediator.HeartbeatConfig,
    "Retention": remediator.RetentionSettings,
    "Limits": remediator.Limits,
    "Tokens": tokens.TokensFile,
    "Holder": tokens.Holder,
    "Policy": policy.PolicyFile,
    "Brake": policy.BrakeRule,
    "Freeze": policy.FreezeRule,
    "Rule": policy.Rule,
    "Budget": policy.BudgetRule,
    "Window": policy.PeriodRule,
    "etcd": shared.EtcdConfig,
    "Member": shared.EtcdMemberConfig,
    "Disk": shared.DiskSource,
    "HTTP service": shared.HttpConfig,
    "TLS files": shared.TLSFiles,
    "User and password": shared.BasicAuth,
}
FILES: tuple[type[BaseModel], ...] = (
    exporter.Config,
    webconfig.WebConfig,
    remediator.Config,
    tokens.TokensFile,
    policy.PolicyFile,
)
PAGES = sorted({page for pattern in ("*.md", "[a-z]*/*.md", "docs/**/*.md") for page in ROOT.glob(pattern)})
COMMANDS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def parse(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


# --- Every key with its default ---


def rows(heading: str) -> dict[str, str]:
    """The keys of the table under a heading, with the cell that holds the default."""
    section = re.split(r"^##+ ", CONFIGURATION.read_text(), flags=re.MULTILINE)
    body = next(part for part in section if part.startswith(f"{heading}\n"))
    table = body.partition("| key |")[2].split("\n\n")[0]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines() if line.startswith("| `")]
    return {cell[0].strip().strip("`"): cell[2].strip() for cell in cells}


def says(cell: str, field: FieldInfo) -> bool:
    """Whether a cell tells the field's default; a group of keys with defaults of their own tells none."""
    if field.is_required():
        return cell == "required"
    if field.default is None:
        return cell == "none"
    if isinstance(field.get_default(call_default_factory=True), BaseModel):
        return not cell
    written = TypeAdapter(field.rebuild_annotation()).validate_python(parse(cell.strip("`")))
    return bool(written == field.get_default(call_default_factory=True))


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_stands_on_the_page_with_its_default(heading: str) -> None:
    fields = {field.alias or key: field for key, field in SECTIONS[heading].model_fields.items()}
    told = rows(heading)
    assert list(told) == list(fields)
    assert [key for key, field in fields.items() if not says(told[key], field)] == []


def parts(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from parts(inner)


def reachable(model: type[BaseModel]) -> set[type[BaseModel]]:
    found = {model}
    for field in model.model_fields.values():
        for part in parts(field.annotation):
            found |= reachable(part)
    return found


def test_every_part_of_a_file_has_its_section() -> None:
    assert set().union(*map(reachable, FILES)) == set(SECTIONS.values())


# --- Examples ---


@dataclass(frozen=True, slots=True)
class Example:
    """A YAML block whose first line names the file that it stands for."""

    page: Path
    file: str
    text: str

    def __str__(self) -> str:
        return f"{name(self.page)}:{self.file}"


def examples() -> list[Example]:
    blocks = [
        (page, block) for page in PAGES for block in re.findall(r"```yaml\n(# .*?)```", page.read_text(), re.DOTALL)
    ]
    return [Example(page, Path(block.splitlines()[0][2:]).name, block) for page, block in blocks]


OURS: dict[str, type[BaseModel]] = {
    "exporter.yaml": exporter.Config,
    "remediator.yaml": remediator.Config,
    "tokens.yaml": tokens.TokensFile,
    "policy.yaml": policy.PolicyFile,
    "web.yaml": webconfig.WebConfig,
}


def put(example: Example, folder: Path) -> Path:
    """The example in ``folder``, with every file that it names by /etc there too; rules are the real ones."""

    def there(found: re.Match[str]) -> str:
        path = folder / found[0].lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return str(path)

    text = example.text.replace("/etc/prometheus/rules/", f"{ROOT}/alerts/")
    file = folder / example.file
    file.write_text(re.sub(r"/etc/[\w./-]+(?=[,}\n])", there, text))
    return file


@pytest.mark.parametrize("example", [each for each in examples() if each.file in OURS], ids=str)
def test_an_example_is_a_valid_configuration(example: Example, tmp_path: Path) -> None:
    configfile.load(put(example, tmp_path), OURS[example.file])


@pytest.mark.parametrize("example", [each for each in examples() if each.file == "prometheus.yml"], ids=str)
def test_prometheus_takes_its_example(example: Example, tmp_path: Path) -> None:
    run(tool("promtool"), "check", "config", put(example, tmp_path))


@pytest.mark.parametrize("example", [each for each in examples() if each.file == "alertmanager.yml"], ids=str)
def test_alertmanager_takes_its_example_and_routes_by_it(example: Example, tmp_path: Path) -> None:
    file = put(example, tmp_path)
    run(tool("amtool"), "check-config", file)
    routed = run(tool("amtool"), "config", "routes", "test", f"--config.file={file}", "ballast_runbook=etcd-free-space")
    assert routed.strip() == "ballast-remediator"


@pytest.mark.parametrize("example", [each for each in examples() if each.file == "alertmanager.yml"], ids=str)
def test_the_example_for_alertmanager_is_the_generated_one(example: Example) -> None:
    written = parse(example.text)
    assert written["route"] == parse((ROOT / "alerts/alertmanager-route-example.yaml").read_text())["route"]
    rules = parse((ROOT / "alerts/alertmanager-inhibit-rules.yaml").read_text())
    assert written["inhibit_rules"] == rules["inhibit_rules"]


def test_every_example_is_checked_by_somebody() -> None:
    assert {each.file for each in examples()} == {*OURS, "prometheus.yml", "alertmanager.yml"}


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- Links, paths, commands ---


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


SUFFIXES = "py|libsonnet|yaml|md|toml|lock|json|proto|prom"
PLACEHOLDER = re.compile(r"\b(NAME|AREA|ALERT)\b|_NAME\b|\bAREA_")


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "alerts"], ids=name)
def test_every_file_named_is_there(page: Path) -> None:
    named = re.findall(rf"`((?:[\w.-]+/)+[\w.-]+\.(?:{SUFFIXES}))`", page.read_text())
    assert [path for path in named if not (ROOT / path).exists() and not PLACEHOLDER.search(path)] == []


@pytest.mark.parametrize("page", COMMANDS, ids=name)
def test_every_make_target_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z0-9-]*)", page.read_text(), re.MULTILINE))
    assert named
    assert named - targets == set()


def test_what_the_chain_says_to_look_for_is_found() -> None:
    table = (ROOT / "README.md").read_text().partition("| hop |")[2].split("\n\n")[0]
    missing = []
    for line in table.splitlines():
        files = [ROOT / path for path in re.findall(r"\]\(([^)]+)\)", line)]
        text = "".join(file.read_text() for file in files)
        for wanted in re.findall(r"`([\w.]+)`", line.rstrip("|").rpartition("|")[2]):
            missing += [wanted for part in wanted.split(".") if not re.search(rf"\b{part}\b", text)]
    assert missing == []


# --- What has to be complete ---


@pytest.mark.parametrize("page", sorted((ROOT / "docs/adr").glob("*.md")), ids=name)
def test_a_decision_fits_a_page_and_says_what_was_left(page: Path) -> None:
    text = page.read_text()
    assert len(text.splitlines()) < 60
    assert text.startswith(f"# {int(page.name[:4])}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
        "Context",
        "Decision",
        "Tried or weighed, and left",
        "Consequences",
    ]
