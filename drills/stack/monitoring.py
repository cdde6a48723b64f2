"""Prometheus, Alertmanager and node_exporter."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from drills.stack.ground import Ground, clean
from drills.stack.process import Component, Probe, Process, http_probe, tool


@dataclass(frozen=True, slots=True)
class Service:
    """A running HTTP service: `url` without a slash at its end, and its process to disturb."""

    url: str
    process: Process

    @property
    def address(self) -> str:
        """HOST:PORT, as a scrape target or an Alertmanager address wants it."""
        return urlsplit(self.url).netloc


_AUTH = ("username", "password_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """One scrape job: `targets` are HOST:PORT or URLs, `interval` overrides the global one."""

    job: str
    targets: Sequence[str]
    labels: Mapping[str, str] = field(default_factory=dict)
    path: str = "/metrics"
    interval: str | None = None
    auth: tuple[str, Path] | None = None
    """A user, and the file with the password."""

    def config(self) -> dict[str, object]:
        """As prometheus.yml has it."""
        addresses = [urlsplit(each).netloc if "://" in each else each for each in self.targets]
        override = {"scrape_interval": self.interval, "scrape_timeout": self.interval} if self.interval else {}
        return {
            "job_name": self.job,
            "metrics_path": self.path,
            "static_configs": [{"targets": addresses, "labels": dict(self.labels)}],
            **override,
            **({} if self.auth is None else {"basic_auth": dict(zip(_AUTH, map(str, self.auth), strict=True))}),
        }


def start_prometheus(
    ground: Ground,
    *,
    scrape: Sequence[Scrape] = (),
    rules: Sequence[Path | str] = (),
    alertmanagers: Sequence[str] = (),
    scrape_interval: str = "5s",
    evaluation_interval: str = "5s",
    external_labels: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Service:
    """Start a Prometheus.

    Args:
        ground: where it runs.
        scrape: jobs.
        rules: rule files by path, or a rule file's text.
        alertmanagers: URLs.
        scrape_interval: in Prometheus' notation; also the scrape timeout.
        evaluation_interval: in Prometheus' notation.
        external_labels: added to what it sends to Alertmanager.
        flags: further flags without the dashes.
    """
    data_dir, address = ground.data("prometheus"), ground.address()
    config = {
        "global": {
            "scrape_interval": scrape_interval,
            "scrape_timeout": scrape_interval,
            "evaluation_interval": evaluation_interval,
            "external_labels": dict(external_labels or {}),
        },
        "rule_files": [str(_rule_file(data_dir, number, each)) for number, each in enumerate(rules, 1)],
        "scrape_configs": [job.config() for job in scrape],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [urlsplit(url).netloc for url in alertmanagers]}]}]
        },
    }
    file = data_dir / "prometheus.yml"
    file.write_text(json.dumps(config, indent=1))  # JSON is YAML
    own = {
        "config.file": str(file),
        "storage.tsdb.path": str(data_dir / "tsdb"),
        "web.listen-address": address,
    }
    component = Component(
        name=data_dir.name,
        program=tool("prometheus"),
        arguments=("--web.enable-lifecycle", *clean({**own, **(flags or {})})),
        ready=http_probe(f"http://{address}/-/ready"),
    )
    return Service(f"http://{address}", ground.run(component)[0])


def _rule_file(folder: Path, number: int, rules: Path | str) -> Path:
    if isinstance(rules, Path):
        return rules.resolve(strict=True)
    path = folder / f"rules-{number}.yml"
    path.write_text(rules)
    return path


def start_alertmanager(ground: Ground, *, config: str | Mapping[str, object]) -> Service:
    """Start one Alertmanager, without gossip, with that configuration (text, or what becomes YAML)."""
    return _alertmanagers(ground, config, [""])[0]


def start_alertmanager_pair(
    ground: Ground, *, config: str | Mapping[str, object], flags: Mapping[str, str] | None = None
) -> tuple[Service, Service]:
    """Start a highly available pair; ready means that each has found the other. ``flags`` are without the dashes."""
    first, second = _alertmanagers(ground, config, [ground.address(), ground.address()], flags or {})
    return first, second


def _alertmanagers(
    ground: Ground,
    config: str | Mapping[str, object],
    gossip: Sequence[str],
    more: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Service, ...]:
    components, urls = [], []
    for own in gossip:
        data_dir, address = ground.data("alertmanager"), ground.address()
        file = data_dir / "alertmanager.yml"
        file.write_text(config if isinstance(config, str) else json.dumps(config, indent=1))
        url = f"http://{address}"
        flags = {
            "config.file": str(file),
            "storage.path": str(data_dir / "storage"),
            "web.listen-address": address,
            "cluster.listen-address": own,
            "cluster.advertise-address": own or None,
            "cluster.gossip-interval": "50ms",  # ten of these, three times over, are waited for until it is ready
            **more,
        }
        peers = tuple(f"--cluster.peer={other}" for other in gossip if other != own)
        components.append(
            Component(
                name=data_dir.name,
                program=tool("alertmanager"),
                arguments=(*clean(flags), *peers),
                ready=_met_peers(url, len(gossip)) if own else http_probe(f"{url}/-/ready"),
            )
        )
        urls.append(url)
    processes = ground.run(*components)
    return tuple(Service(url, process) for url, process in zip(urls, processes, strict=True))


def _met_peers(url: str, members: int) -> Probe:
    opener = build_opener(ProxyHandler({}))

    def ask() -> str | None:
        try:
            with opener.open(f"{url}/api/v2/status", timeout=1.0) as answer:
                cluster = json.load(answer)["cluster"]
        except (OSError, ValueError) as error:
            return f"{url}: {error}"
        found, status = len(cluster.get("peers", ())), cluster["status"]
        return None if (found, status) == (members, "ready") else f"{url} is {status}, sees {found} of {members}"

    return ask


def start_node_exporter(ground: Ground) -> Service:
    """Start a node_exporter that reports filesystems alone, a container's overlay root included.

    `drills.stack.mountpoint(path)` says under which label `mountpoint` a path's filesystem is found.
    """
    address = ground.address()
    component = Component(
        name="node-exporter",
        program=tool("prometheus-node-exporter"),
        arguments=(
            "--collector.disable-defaults",
            "--collector.filesystem",
            "--collector.filesystem.fs-types-exclude=^(proc|sysfs|cgroup2?)$",
            "--collector.filesystem.mount-points-exclude=^/(proc|sys)($|/)",
            f"--web.listen-address={address}",
        ),
        ready=http_probe(f"http://{address}/metrics"),
    )
    return Service(f"http://{address}", ground.run(component)[0])
