"""Serves the web application of a configuration file, its engine left out, as the real command would."""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ballast_remediator.app import create_app
from ballast_remediator.config import Config
from ballast_remediator.contract import Alert
from ballast_remediator.engine.explaining import Explained
from ballast_remediator.store.database import Store
from ballast_remediator.web.admission import admission, refusal
from ballast_remediator.web.ingest import QUICK
from kube_ballast import configfile, wsgi
from kube_ballast.config import split_address


class NoEngine:
    def wake(self) -> None:
        pass

    def ignored_alerts(self) -> int:
        return 0

    def notifications_set_aside(self) -> int:
        return 0

    def problem(self) -> str | None:
        return None

    def kill_switch_file(self) -> str | None:
        return None

    def explain(self, alert: Alert) -> Explained:
        return Explained(alert, "", "nobody knows")

    def policy_digest(self) -> str:
        return ""

    def policy_problem(self) -> str | None:
        return None

    def runbooks(self) -> Mapping[str, str]:
        return {}


def service(file: str) -> wsgi.Service:
    config = configfile.load(Path(file), Config)
    store = Store(config.store.place)
    app = create_app(config, engine=NoEngine(), store=store)
    admit = admission(app, body_bytes=config.limits.body_bytes)
    return wsgi.Service(app.wsgi_app, admit, store.close, admit_is_quick=True, refused=refusal(app), quick=QUICK)


def main(file: str) -> None:
    config = configfile.load(Path(file), Config)
    host, port = split_address(config.listen)
    limits = wsgi.Limits(body_bytes=config.limits.body_bytes)
    wsgi.serve(partial(service, file), host, port, limits=limits)


if __name__ == "__main__":
    main(sys.argv[1])
