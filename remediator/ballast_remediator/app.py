"""Puts the remediator together: the web application from its parts, and everything from a configuration."""

import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from flask import Flask, Response, jsonify
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI

from ballast_remediator import policy, runbooks
from ballast_remediator.config import Config
from ballast_remediator.connections import Connections
from ballast_remediator.engine import scheduler
from ballast_remediator.engine.auditing import AuditCheck
from ballast_remediator.engine.housekeeping import HOUSEKEEPING, Housekeeping
from ballast_remediator.engine.notifying import UNSEEN_SHARE, Notifier, expected
from ballast_remediator.engine.retaining import Retention
from ballast_remediator.engine.witness import Monitored
from ballast_remediator.metrics import Metrics
from ballast_remediator.metrics_watched import Verified, Watched
from ballast_remediator.notices import Receiver
from ballast_remediator.runbooks import lock
from ballast_remediator.shutdown import DRAIN_SECONDS, Shutdown
from ballast_remediator.store.database import Store
from ballast_remediator.store.outbox import Wanted
from ballast_remediator.store.pulse import Pulse
from ballast_remediator.tokens import Tokens
from ballast_remediator.web import access, audit, errors, explain, health, ingest, preapprovals, runs, shadow, stops
from ballast_remediator.web.admission import admission, refusal
from ballast_remediator.web.services import Engine, Known, Problem, Services, attach
from kube_ballast import __version__, configfile
from kube_ballast.wsgi import Service

_log = structlog.get_logger("ballast_remediator.app")


def create_app(
    config: Config,
    *,
    engine: Engine,
    store: Store,
    audit_check: Verified | None = None,
    lease_held: Callable[[], bool] | None = None,
    shutting_down: Callable[[], bool] = lambda: False,
) -> Flask:
    """The web application. It starts nothing. Raises ConfigError when the tokens file cannot be used."""
    tokens = Tokens(config.tokens_file)
    metrics = Metrics(
        store,
        engine_problem=engine.problem,
        ignored_alerts=engine.ignored_alerts,
        set_aside=engine.notifications_set_aside,
        tokens_problem=lambda: tokens.problem,
        policy_problem=engine.policy_problem,
        policy_digest=engine.policy_digest,
        kill_switch_file=engine.kill_switch_file,
        runbooks=engine.runbooks,
        watched=Watched(
            clusters=tuple(config.clusters),
            expiring_within=config.engine.approval_expires * UNSEEN_SHARE,
            notices=config.notices is not None,
            audit=audit_check,
            lease_held=lease_held,
        ),
    )
    app = OpenAPI(
        "ballast_remediator",
        info=Info(
            title="Ballast remediator",
            version=__version__,
            description="Takes Alertmanager's notifications and remedies what its runbooks and its policy allow.",
        ),
        security_schemes={"token": {"type": "http", "scheme": "bearer"}},
        validation_error_status=HTTPStatus.BAD_REQUEST.value,
        validation_error_model=Problem,
        validation_error_callback=errors.invalid,
        doc_ui=False,
        static_folder=None,
    )
    app.config["MAX_CONTENT_LENGTH"] = config.limits.body_bytes
    known = Known({name: one.targets for name, one in config.clusters.items()})
    attach(app, Services(store, engine, tokens, metrics, known, config, Pulse(store), shutting_down))
    app.before_request(access.before_request)
    errors.register(app)
    for module in (ingest, runs, stops, preapprovals, explain, shadow, audit, health):
        app.register_api(module.api)
    document = _document(app)

    @app.route("/openapi.json")
    def openapi() -> Response:
        return jsonify(document)

    return app


def _notifier(
    config: Config,
    store: Store,
    *,
    on_duty: Callable[[], bool],
    audit_problem: Callable[[], str | None],
    kill_switch_file: Callable[[], str | None],
) -> Notifier:
    """Who tells people; without a receiver nothing is kept to be told. Who is on duty checks the audit, too."""
    if config.notices is not None:
        store.tell(Wanted(frozenset(config.notices.kinds), config.external_url))
    receiver = None if config.notices is None else Receiver(config.notices)
    return Notifier(
        store,
        expected(config),
        receiver=receiver,
        on_duty=on_duty,
        audit_problem=audit_problem,
        kill_switch_file=kill_switch_file,
    )


def _document(app: OpenAPI) -> dict[str, Any]:
    """The OpenAPI document, without the answer that flask-openapi3 adds to what validates nothing."""
    document: dict[str, Any] = app.api_doc
    for path in document["paths"].values():
        for operation in path.values():
            for content in operation["responses"].get("400", {}).get("content", {}).values():
                if content["schema"].get("type") == "array":
                    del operation["responses"]["400"]
    return document


def service(config_file: Path) -> Service:
    """Everything, started: for the process that serves.

    Raises:
        ConfigError: one of the files cannot be used.
        StoreInUse: another process has the store open.
        StoreUnavailable: the store cannot be opened.
    """
    config = configfile.load(config_file, Config)
    policies = policy.PolicyOfFile(config.policy_file)
    connections = Connections(config.clusters)
    store = Store(config.store.place)
    engine = scheduler.Engine(
        store=store,
        runbooks=runbooks.build(connections, config),
        reviewed=lock.approved(),
        policies=policies,
        witness=Monitored(connections.monitoring),
        alertmanagers=connections.alertmanagers,
        settings=config.engine,
        may_decide=Tokens(config.tokens_file).may_decide,
        nodes_at_work=connections.nodes_at_work,
        heartbeat=config.heartbeat.alertname,
    )
    on_duty = partial(engine.membership.has_duty, HOUSEKEEPING)
    audit_check = AuditCheck(store)
    housekeeping = Housekeeping(store, audit_check, Retention(store, config.retention, policies), on_duty=on_duty)
    notifier = _notifier(
        config,
        store,
        on_duty=on_duty,
        audit_problem=lambda: audit_check.problem,
        kill_switch_file=engine.kill_switch_file,
    )

    shutdown = Shutdown(notifier=notifier, engine=engine, housekeeping=housekeeping, store=store)

    def lease_held() -> bool:
        return engine.membership.assurance()()

    app = create_app(
        config,
        engine=engine,
        store=store,
        audit_check=audit_check,
        lease_held=None if store.exclusive else lease_held,
        shutting_down=lambda: shutdown.begun,
    )
    connections.keep(threading.Event())  # in a thread that ends with the process: it holds nothing
    engine.start()
    notifier.start()
    housekeeping.start()
    _log.info("the remediator works", version=__version__, store=str(config.store.place), listen=config.listen)

    return Service(
        app.wsgi_app,
        admission(app, body_bytes=config.limits.body_bytes),
        shutdown.finish,
        admit_is_quick=True,
        refused=refusal(app),
        probes=health.PROBES,
        quick=ingest.QUICK,
        drain=shutdown.begin,
        drain_seconds=0.0 if store.exclusive else DRAIN_SECONDS,
    )
