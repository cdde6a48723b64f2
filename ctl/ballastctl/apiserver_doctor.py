"""``ballastctl apiserver doctor``: what is wrong between the apiservers and etcd, measured now and from here."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click
from pydantic import TypeAdapter

from ballast_exporter.contract import RequestCounter
from ballast_exporter.stall_canary import NAMESPACE
from ballast_exporter.stall_probes import Probes
from ballast_exporter.stall_report import Report
from ballastctl import doctor_view as view
from ballastctl.connection import columns, output_option
from ballastctl.doctor_access import Patients, chosen, patient_options
from ballastctl.doctor_report import Diagnosis, diagnosis
from ballastctl.etcd import cancelled_by_ctrl_c
from ballastctl.exits import EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_UNKNOWN, EXIT_UNREACHABLE, fail
from ballastctl.words import terminal_height, terminal_width
from kube_ballast.clients.errors import ClientError, Denied

_PAGES_SECONDS: Final = 3.0
"""Between two readings of an apiserver's metrics: three of them show a load balancer."""
_STEP_SECONDS: Final = 0.25
_UP: Final = "\x1b[{lines}A\x1b[J"
_EPILOG: Final = """\b
Examples:
  ballastctl apiserver doctor --kubeconfig admin.conf --endpoints https://10.0.0.1:2379,https://10.0.0.2:2379 \\
      --cacert ca.crt --cert client.crt --key client.key
  ballastctl apiserver doctor --apiserver https://10.0.0.1:6443 --apiserver https://10.0.0.2:6443 --local-etcd
  ballastctl apiserver doctor --config /etc/ballast/exporter.yaml
  ballastctl apiserver doctor --no-write -o json | jq '.apiservers[] | {name, verdict, reasons}'

\b
Exit codes:
  0    every apiserver is ok
  1    at least one is not, and what it has is named; or the credentials are not accepted
  2    a mistake in the command line or the configuration
  3    the cluster cannot be asked where its apiservers are: name them with --apiserver
  4    of at least one too little is known, and none has anything worse
  130  Ctrl-C

It writes a Lease through each apiserver, in the namespace kube-ballast, which it makes if it is missing; --no-write
leaves that out. docs/ballastctl.md explains what it shows, and the JSON.
"""


@click.command(epilog=_EPILOG)
@patient_options
@click.option("--no-write", is_flag=True, help="Write nothing: a stall of writes and stale watches are not seen then.")
@click.option(
    "--seconds", type=click.IntRange(5, 120), default=10, show_default=True, help="How long to look; all at once."
)
@output_option
@click.pass_context
def doctor(context: click.Context, /, *, no_write: bool, seconds: int, output: str, **_patients: object) -> None:
    """Says what is wrong between each apiserver and etcd, why, and what to do: the first thing to run."""
    try:
        patients = chosen(context)
    except Denied as error:
        fail(f"{error}. Check --kubeconfig; or name the apiservers with --apiserver", EXIT_REFUSED)
    except ClientError as error:
        fail(
            f"{error}. The cluster does not say where its apiservers are: name them with --apiserver", EXIT_UNREACHABLE
        )
    if not patients.servers:
        fail("the Service kubernetes names no apiserver: name them with --apiserver", EXIT_UNREACHABLE)
    probes = Probes(patients.servers, patients.etcd, RequestCounter(), writes=not no_write, pages=_PAGES_SECONDS)
    _announce(patients, seconds, writes=not no_write)
    with cancelled_by_ctrl_c() as cancel, _running(probes):
        _watch(probes, seconds, cancel, shows=sys.stderr.isatty())
        if cancel.is_set():
            fail("stopped", EXIT_INTERRUPTED)
        found = diagnosis(probes.report(), seconds, writes=not no_write)
    if output == "json":
        click.echo(TypeAdapter(Diagnosis).dump_json(found, indent=2))
    else:
        for line in view.lines(found, columns()):
            click.echo(line)
    sys.exit(EXIT_REFUSED if found.sick else EXIT_UNKNOWN if found.unknown or not found.apiservers else 0)


def _announce(patients: Patients, seconds: int, *, writes: bool) -> None:
    asked = [f"{len(patients.servers)} apiserver{'s' if len(patients.servers) > 1 else ''}"]
    if patients.etcd is not None:
        members = len(patients.etcd.members)
        asked.append(f"{members} etcd member{'s' if members > 1 else ''}")
    what = f"writing one Lease through each apiserver (namespace {NAMESPACE})" if writes else "writing nothing"
    click.echo(f"asking {' and '.join(asked)} for {seconds} s, {what}", err=True)


@contextmanager
def _running(probes: Probes) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=probes.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        probes.close()


def _watch(probes: Probes, seconds: float, cancel: threading.Event, *, shows: bool) -> None:
    """Until the time is over; on a terminal it shows how things look so far."""
    ends, above = time.monotonic() + seconds, 0
    while (left := ends - time.monotonic()) > 0 and not cancel.wait(min(_STEP_SECONDS, left)):
        if shows:
            above = _redraw(probes.report(), max(0.0, ends - time.monotonic()), above)
    if above:
        click.echo(_UP.format(lines=above), nl=False, err=True)


def _redraw(report: Report, left: float, above: int) -> int:
    """Write over the ``above`` lines of the last time; how many there are now."""
    lines = list(view.progress(report, terminal_width()))
    room = max(1, terminal_height() - 3)
    if len(lines) > room:  # what scrolls away cannot be written over
        lines = [*lines[:room], f"and {len(lines) - room} more"]
    lines.append(f"{left:.0f} s more")
    click.echo((_UP.format(lines=above) if above else "") + "\n".join(lines), err=True)
    return len(lines)
