"""The words that every part of the remediator agrees on. Nothing here does I/O or reads a clock.

A *run* answers one alert's fault with one runbook on one target. It moves through `RunState` along
`TRANSITIONS` and nowhere else. A *plan* is data: it can be stored, shown, hashed and approved before
anything is done. A *step* of it is observed before it acts, so that a crash at any point is answered by
looking first.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from types import MappingProxyType, ModuleType
from typing import Any, Final, Protocol, TypeVar

from ballast_remediator.periods import Period

Scalar = str | int | float | bool | None
"""What plans and results may carry: it survives JSON unchanged."""


class RunState(StrEnum):
    """Where a run stands."""

    RECEIVED = "received"
    PLANNING = "planning"
    AWAITING_APPROVAL = "awaiting_approval"
    QUEUED = "queued"
    RUNNING = "running"
    VERIFYING = "verifying"
    SUPPRESSED = "suppressed"
    SHADOWED = "shadowed"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    OUTCOME_UNKNOWN = "outcome_unknown"


_S = RunState
TRANSITIONS: Mapping[RunState, frozenset[RunState]] = MappingProxyType(
    {
        # While the brake is on, what arrives is written down and goes no further.
        _S.RECEIVED: frozenset({_S.PLANNING, _S.SUPPRESSED, _S.EXPIRED}),
        # It expires when it waited behind a brake that a person has released.
        _S.PLANNING: frozenset(
            {_S.SUPPRESSED, _S.SHADOWED, _S.AWAITING_APPROVAL, _S.QUEUED, _S.CANCELLED, _S.FAILED, _S.EXPIRED}
        ),
        # An alert that resolves meanwhile, or a plan that changed, is planned anew.
        _S.AWAITING_APPROVAL: frozenset({_S.PLANNING, _S.QUEUED, _S.CANCELLED, _S.EXPIRED}),
        # What a person approved is not carried out when they no longer look.
        _S.QUEUED: frozenset({_S.PLANNING, _S.RUNNING, _S.CANCELLED, _S.EXPIRED}),
        # Of one whose process died before its first step nothing was done: it is judged anew.
        _S.RUNNING: frozenset({_S.PLANNING, _S.VERIFYING, _S.FAILED, _S.OUTCOME_UNKNOWN}),
        _S.VERIFYING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.OUTCOME_UNKNOWN}),
        _S.SUPPRESSED: frozenset(),
        _S.SHADOWED: frozenset(),
        _S.SUCCEEDED: frozenset(),
        _S.FAILED: frozenset(),
        _S.CANCELLED: frozenset(),
        _S.EXPIRED: frozenset(),
        _S.OUTCOME_UNKNOWN: frozenset(),
    }
)
FINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)
EXECUTING = frozenset({_S.RUNNING, _S.VERIFYING})


class Mode(StrEnum):
    """What the policy lets a runbook do by itself."""

    SHADOW = "shadow"
    ASK = "ask"
    AUTO = "auto"


class Reversibility(StrEnum):
    """What it costs to take a runbook's effect back."""

    REVERSIBLE = "reversible"
    COSTLY = "costly"
    IRREVERSIBLE = "irreversible"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of a notification. ``starts_at`` is seconds since the epoch, as the sender says."""

    fingerprint: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    firing: bool
    starts_at: float


@dataclass(frozen=True, slots=True)
class AlertEvidence:
    """What Prometheus and Alertmanager say of an alert, asked now."""

    question: str
    """As Prometheus was asked."""
    series: Mapping[str, str] | None
    """The labels under which it fires in Prometheus; None when it does not."""
    others: tuple[Mapping[str, str], ...] = ()
    """Those of other series that may as well be meant."""
    age: float = 0.0
    """Seconds since its rule was evaluated, by Prometheus' own clock. Finite."""
    silenced_by: tuple[str, ...] = ()
    """Ids of the silences that cover it."""
    problem: str | None = None
    """Why nothing can be said, in words; None when something can."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a run is about: at most one run is open per target."""

    cluster: str
    runbook: str
    name: str


class Verdict(StrEnum):
    """A guard's answer."""

    ALLOW = "allow"
    ASK = "ask"
    """Only if a person accepts this very risk by name."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a guard says, and why, in words for whoever is awake."""

    guard: str
    verdict: Verdict
    reason: str
    passing: bool = False
    """The refusal may well pass by itself within a minute or two."""


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One step of a plan as data; ``kind`` names the `Step` of the runbook that carries it out."""

    kind: str
    target: str
    words: str
    params: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Succession:
    """What earlier runs a plan heeds. It is no part of what is approved: `Plan.floors` say it in numbers.

    ``after`` are targets whose last run has to have ended ``rest`` seconds ago. The last run on ``follows`` has to have
    been in vain (`Action.in_vain`), less than ``within`` seconds ago; it needs no rest. ``since`` is when the fault
    began, seconds since the epoch: what was in vain on this very target since then is not done again.
    """

    after: tuple[Target, ...] = ()
    rest: float = 0.0
    follows: Target | None = None
    within: float = 0.0
    since: float | None = None

    @classmethod
    def parsed(cls, content: Mapping[str, Any]) -> "Succession":
        """The one whose ``dataclasses.asdict`` the store kept as JSON."""
        follows = content["follows"]
        return cls(
            after=tuple(Target(**target) for target in content["after"]),
            rest=content["rest"],
            follows=None if follows is None else Target(**follows),
            within=content["within"],
            since=content["since"],
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is going to do, in order.

    ``limits`` and ``floors`` bound the effect and are part of what is approved; ``because`` are measurements, which are
    not.
    ``disturbs`` are the failure domains that its steps disturb, one after the other.
    """

    summary: str
    because: tuple[str, ...]
    steps: tuple[StepSpec, ...]
    limits: Mapping[str, Scalar]
    """What it does at most; a policy may demand less."""
    answers: tuple[Answer, ...] = ()
    disturbs: tuple[str, ...] = ()
    floors: Mapping[str, Scalar] = field(default_factory=dict)
    """What it keeps at least."""
    succession: Succession = Succession()

    @property
    def acknowledgements(self) -> tuple[str, ...]:
        """The guards whose risk a person has to accept by name before this plan may run."""
        return tuple(answer.guard for answer in self.answers if answer.verdict is Verdict.ASK)

    @classmethod
    def parsed(cls, content: Mapping[str, Any]) -> "Plan":
        """The plan whose ``dataclasses.asdict`` the store kept as JSON."""
        return cls(
            summary=content["summary"],
            because=tuple(content["because"]),
            steps=tuple(StepSpec(**step) for step in content["steps"]),
            limits=content["limits"],
            answers=tuple(Answer(**{**one, "verdict": Verdict(one["verdict"])}) for one in content["answers"]),
            disturbs=tuple(content.get("disturbs", ())),  # what an earlier version planned names none
            floors=content.get("floors", {}),
            succession=Succession.parsed(content["succession"]) if "succession" in content else Succession(),
        )

    def hash(self, *, target: Target, runbook_digest: str, policy_rule: Mapping[str, Any]) -> str:
        """What an approval is bound to: SHA-256, hex.

        It covers the runbook's source, the targets, the ordered kinds of action, the limits, the risks that
        have to be accepted and the policy rule; never measurements, which change every second. Which
        member leads is one, so the members count as a set.
        """
        content = {
            "target": asdict(target),
            "runbook_digest": runbook_digest,
            "kinds": [step.kind for step in self.steps],
            "targets": sorted({step.target for step in self.steps}),
            "limits": dict(self.limits),
            "disturbs": sorted(self.disturbs),
            "floors": dict(self.floors),
            "acknowledgements": sorted(self.acknowledgements),
            "policy_rule": policy_rule,
        }
        return hashlib.sha256(canonical(content)).hexdigest()


_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical(content: object) -> bytes:
    """JSON that is the same for the same content: sorted keys, no spaces."""
    return _CANONICAL.encode(content).encode()


@dataclass(frozen=True, slots=True)
class NothingToDo:
    """The world does not show the fault that the alert speaks of."""

    reason: str


class Progress(StrEnum):
    """What the world shows of a step."""

    DONE = "done"
    NOT_DONE = "not_done"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Observed:
    """A step's state in the world; ``facts`` go into its checkpoint when it is done."""

    progress: Progress
    words: str
    facts: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """What a step's act, or a verification, achieved."""

    words: str
    facts: Mapping[str, Scalar] = field(default_factory=dict)


class StepFailed(Exception):
    """The run cannot go on; the text says why and what a person can do. Nothing is half-done."""


class InVain(StepFailed):
    """All steps are done, and the fault goes on all the same: the ledger says so of this run (`Action.in_vain`)."""


class OutcomeUnknown(Exception):
    """Whether the step took effect cannot be told by looking either: a person has to."""


class NotConfigured(Exception):
    """The configuration does not know the target; the text says what it lacks."""


class Stopped(Exception):
    """This process may not go on with the run: it shuts down, or somebody else owns the run."""


class StepContext(Protocol):
    """What the engine lends to a step while it works."""

    @property
    def run_id(self) -> str: ...

    @property
    def target(self) -> Target: ...

    @property
    def acknowledged(self) -> frozenset[str]:
        """The guards whose risk the approver accepted."""

    def facts(self, kind: str) -> Mapping[str, Scalar]:
        """What the finished steps of ``kind`` recorded, later ones over earlier ones."""

    def note(self, words: str) -> None:
        """Records an effect or a finding in the run's audit, durably, before it returns."""

    def wait(self, seconds: float) -> None:
        """Pauses. Raises `Stopped` as soon as the process shuts down."""

    def go_on(self) -> None:
        """To be called right before whatever cannot be taken back, since a step may have waited long before it.

        Raises `StepFailed` while a kill switch covers the run, `Stopped` when the process shuts down.
        """

    def now(self) -> float:
        """Monotonic seconds, for deadlines."""


class Step(Protocol):
    """How one kind of step looks at the world and changes it.

    ``observe`` must not change anything. ``act`` is called only after ``observe`` said ``NOT_DONE``; it may
    be called again after a crash at any point of it.
    """

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        """Done, not done, or unknown (it will be asked again)."""

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        """Does it. Raises `StepFailed`, or a ``Timeout`` of a client, after which it is observed."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a runbook needs to be allowed to do, in words; its page repeats them."""

    etcd: tuple[str, ...] = ()
    prometheus: tuple[str, ...] = ()
    kubernetes: tuple[str, ...] = ()
    """Each ``get PATH``, of every apiserver: deploy/kubernetes/rbac-remediator.yaml is made of them."""
    hosts: tuple[str, ...] = ()
    """What it does there, and as whom: deploy/hosts/ballast.sudoers says it to who installs it."""


class World(Protocol):
    """What a runbook saw, at one time."""

    @property
    def valid_until(self) -> float:
        """`time.monotonic` seconds: nobody acts on it later."""

    @property
    def population(self) -> int:
        """How many targets like this one its cluster has; a budget in percent is a share of them."""


W = TypeVar("W", bound=World)
WorldGuard = Callable[[W], Answer]


class Runbook(Protocol[W]):
    """One fault's remedy. See docs/runbooks/ for each in words."""

    @property
    def name(self) -> str: ...

    @property
    def target_label(self) -> str:
        """The alert's label that names the target."""

    def knows(self, target: Target) -> bool:
        """Whether the configuration has that target: nothing is opened for one that it does not have."""

    @property
    def sources(self) -> tuple[ModuleType, ...]:
        """The modules besides its own that its digest covers: those that hold its steps."""

    @property
    def permissions(self) -> Permissions: ...

    @property
    def reversibility(self) -> Reversibility: ...

    @property
    def undo(self) -> str:
        """How its effect is taken back, or why it is not."""

    @property
    def locks(self) -> tuple[str, ...]:
        """Names of what only one run of a cluster may disturb at a time."""

    @property
    def guards(self) -> tuple[WorldGuard[W], ...]: ...

    @property
    def steps(self) -> Mapping[str, Step]: ...

    def observe(self, alert: Alert, target: Target) -> W:
        """Looks at the world. Raises a client's error where it cannot be seen."""

    def plan(self, world: W) -> Plan | NothingToDo:
        """Pure: the same world gives the same plan."""

    def verify(self, context: StepContext) -> Done:
        """Looks at the world, not at the alert. Raises `StepFailed`, `InVain` where the fault itself goes on."""


class StopKind(StrEnum):
    """What keeps runs from beginning, until somebody lifts it."""

    KILL_SWITCH = "kill_switch"
    """Set by people. Also ends runs under way, before their next step."""
    BRAKE = "brake"
    """Set by the intake when too many distinct targets appear at once. It covers everything."""
    FREEZE = "freeze"
    """Set by people who work on a cluster."""
    HOLD = "hold"
    """Set by people who work on one target."""


@dataclass(frozen=True, slots=True)
class Stop:
    """One stop that is in force. What it does not name, it covers whatever that is. Times: seconds since the epoch."""

    id: str
    kind: StopKind
    cluster: str | None
    runbook: str | None
    target: str | None
    person: str
    reason: str
    set_at: float
    until: float | None = None

    def covers(self, target: Target) -> bool:
        """Whether it keeps a run on ``target`` from beginning."""
        named = ((self.cluster, target.cluster), (self.runbook, target.runbook), (self.target, target.name))
        return all(own is None or own == other for own, other in named)

    @property
    def scope(self) -> str:
        """What it covers, in words."""
        named = (("target", self.target), ("runbook", self.runbook), ("cluster", self.cluster))
        return " of ".join(f"{what} {name}" for what, name in named if name is not None) or "everything"


@dataclass(frozen=True, slots=True)
class Budget:
    """How many runs of one runbook may begin in one cluster within ``window`` seconds.

    ``percent`` is a share of the cluster's targets of that kind, rounded down; where both stand, the smaller holds.
    """

    runs: int | None
    percent: float | None
    window: float


@dataclass(frozen=True, slots=True)
class Terms:
    """What the policy's rule demands of a run, besides its mode. ``cooldown`` is seconds."""

    budget: Budget
    cooldown: float
    windows: tuple[Period, ...] = ()
    """It may begin only in one of these; none means at any time."""
    freezes: tuple[Period, ...] = ()
    """It may begin in none of these."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """What the plan's limits of the same name may not exceed."""


@dataclass(frozen=True, slots=True)
class Jump:
    """The wall clock was set: forward by ``seconds``, or back where negative, ``ago`` seconds ago."""

    seconds: float
    ago: float


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """What a claim has to hold against. ``valid_until`` is `time.monotonic` seconds, as in `World`."""

    run_id: str
    target: Target
    plan_hash: str
    locks: tuple[str, ...]
    domains: tuple[str, ...]
    """Names of the locks of the failure domains that the plan disturbs."""
    limits: Mapping[str, Scalar]
    population: int
    terms: Terms
    valid_until: float
    succession: Succession = Succession()


@dataclass(frozen=True, slots=True)
class Action:
    """The latest run on a target that began, or that a person rejected. ``ended_at`` is None while it goes on."""

    run_id: str
    words: str
    ended_at: float | None
    in_vain: bool = False
    """All its steps were done, and the fault went on all the same (`InVain`)."""


class Ledger(Protocol):
    """What ledger guards know of past and running actions, inside the claiming transaction."""

    @property
    def now(self) -> float:
        """Seconds since the epoch."""

    @property
    def monotonic(self) -> float:
        """`time.monotonic` seconds."""

    @property
    def jump(self) -> Jump | None:
        """The last time that the wall clock was set since the program started."""

    @property
    def kill_switch_file(self) -> str | None:
        """The path of the kill switch's file where it exists; it works when the database does not."""

    def lock_holder(self, lock: str) -> str | None:
        """The run that holds ``lock``, if any."""

    def quarantined_by(self, target: Target) -> str | None:
        """The run whose unknown outcome bars ``target`` until a person resolves it."""

    def stops(self, target: Target) -> Sequence[Stop]:
        """Those in force that cover ``target``, oldest first."""

    def nodes_at_work(self, cluster: str) -> Mapping[str, str]:
        """Nodes of its control plane that somebody works on, as they were seen last: by name, how it shows."""

    def begun(self, cluster: str, runbook: str, since: float) -> int:
        """How many runs of ``runbook`` began in ``cluster`` since then; those that still go on are among them."""

    def last_action(self, target: Target) -> Action | None:
        """The latest of its runbook on ``target``."""


LedgerGuard = Callable[[ClaimRequest, Ledger], Answer]


def first_refusal(answers: Sequence[Answer]) -> Answer | None:
    """The first answer that forbids, if any."""
    return next((answer for answer in answers if answer.verdict is Verdict.REFUSE), None)
