"""The tables. They change by the migrations in ``migrations/`` only, forward only.

Times are seconds since the epoch. JSON columns hold what `contract` can say.
"""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("received_at", Float, nullable=False),
    Column("source", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("filed_at", Float),
)
Index(
    "ix_notifications_unfiled",
    notifications.c.id,
    sqlite_where=text("filed_at IS NULL"),
    postgresql_where=text("filed_at IS NULL"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("cluster", String, nullable=False),
    Column("runbook", String, nullable=False),
    Column("target", String, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("alert", JSON, nullable=False),
    Column("mode", String),
    Column("policy_digest", String),
    Column("plan", JSON),
    Column("plan_hash", String),
    Column("approved_hash", String),
    Column("acknowledged", JSON, nullable=False, server_default="[]"),
    Column("token", Integer, nullable=False, server_default="0"),
    Column("owner", String),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("planning_since", Float),
    Column("expires_at", Float),
    Column("approvals_needed", Integer, nullable=False, server_default="1"),
    Column("approvers", JSON),
    Column("preapproved_by", JSON),
    Column("waiting_for", String),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("resolved_at", Float),
    Column("rejected", Boolean, nullable=False, server_default=false()),
)
Index(
    "uq_runs_open_target",
    runs.c.cluster,
    runs.c.runbook,
    runs.c.target,
    unique=True,
    sqlite_where=text("finished_at IS NULL"),
    postgresql_where=text("finished_at IS NULL"),
)
Index("ix_runs_created_at", runs.c.created_at)
Index("ix_runs_state_created_at", runs.c.state, runs.c.created_at)
Index("ix_runs_latest", runs.c.cluster, runs.c.runbook, runs.c.target, runs.c.finished_at)
Index(
    "ix_runs_begun",
    runs.c.cluster,
    runs.c.runbook,
    runs.c.started_at,
    sqlite_where=text("started_at IS NOT NULL"),
    postgresql_where=text("started_at IS NOT NULL"),
)
Index(
    "ix_runs_acted",
    runs.c.cluster,
    runs.c.runbook,
    runs.c.target,
    sqlite_where=text("started_at IS NOT NULL OR rejected = 1"),
    postgresql_where=text("started_at IS NOT NULL OR rejected"),
)
Index(
    "ix_runs_unknown",
    runs.c.cluster,
    runs.c.target,
    sqlite_where=text("state = 'outcome_unknown'"),
    postgresql_where=text("state = 'outcome_unknown'"),
)
Index("ix_runs_waiting_for", runs.c.waiting_for)
Index("ix_runs_owner", runs.c.owner)
Index("ix_runs_finished_at", runs.c.finished_at)
Index(
    "ix_runs_due_at",
    runs.c.due_at,
    sqlite_where=text("finished_at IS NULL"),
    postgresql_where=text("finished_at IS NULL"),
)

replicas = Table(
    "replicas",
    metadata,
    Column("id", String, primary_key=True),
    Column("beat", Integer, nullable=False),
    Column("words", Text, nullable=False),
    Column("joined_at", Float, nullable=False),
)

duties = Table(
    "duties",
    metadata,
    Column("name", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("taken_at", Float, nullable=False),
)

turns = Table(
    "turns",  # the last one that each process took to write: whether a commit was one after all
    metadata,
    Column("writer", String, primary_key=True),
    Column("ticket", String, nullable=False),
    Column("at", Float, nullable=False),
)

run_alerts = Table(
    "run_alerts",
    metadata,
    Column("run_id", String, ForeignKey("runs.id"), primary_key=True),
    Column("fingerprint", String, primary_key=True),
    Column("firing", Boolean, nullable=False),
    Column("starts_at", Float, nullable=False),
    Column("first_seen", Float, nullable=False),
    Column("last_seen", Float, nullable=False),
    Column("received", Integer, nullable=False),
)

steps = Table(
    "steps",
    metadata,
    Column("run_id", String, ForeignKey("runs.id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("kind", String, nullable=False),
    Column("target", String, nullable=False),
    Column("words", Text, nullable=False),
    Column("params", JSON, nullable=False),
    Column("intended_at", Float),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("done_at", Float),
    Column("result", Text),
    Column("facts", JSON),
)

locks = Table(
    "locks",
    metadata,
    Column("name", String, primary_key=True),
    Column("run_id", String, ForeignKey("runs.id"), nullable=False),
    Column("taken_at", Float, nullable=False),
)

stops = Table(
    "stops",
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("cluster", String),
    Column("runbook", String),
    Column("target", String),
    Column("person", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("set_at", Float, nullable=False),
    Column("until", Float),
    Column("lifted_at", Float),
)
Index("ix_stops_lifted_at", stops.c.lifted_at)

approvals = Table(
    "approvals",
    metadata,
    Column("run_id", String, ForeignKey("runs.id"), primary_key=True),
    Column("plan_hash", String, primary_key=True),
    Column("person", String, primary_key=True),
    Column("at", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("acknowledged", JSON, nullable=False),
)

preapprovals = Table(
    "preapprovals",
    metadata,
    Column("id", String, primary_key=True),
    Column("cluster", String, nullable=False),
    Column("runbook", String, nullable=False),
    Column("runbook_digest", String, nullable=False),
    Column("targets", JSON, nullable=False),
    Column("limits", JSON, nullable=False),
    Column("acknowledged", JSON, nullable=False),
    Column("person", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("given_at", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("revoked_at", Float),
)

shadows = Table(
    "shadows",
    metadata,
    Column("run_id", String, ForeignKey("runs.id"), primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("since", Float, nullable=False),
    Column("resolved_at", Float),
    Column("next_look_at", Float),
    Column("looks", JSON, nullable=False),
    Column("mark", String),
    Column("marked_by", String),
    Column("mark_reason", Text),
)
Index("ix_shadows_since", shadows.c.since)
Index("ix_shadows_next_look_at", shadows.c.next_look_at)
Index(
    "ix_shadows_unresolved",
    shadows.c.fingerprint,
    sqlite_where=text("resolved_at IS NULL"),
    postgresql_where=text("resolved_at IS NULL"),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("run_id", String),
    Column("event", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("words", Text, nullable=False),
    Column("data", JSON, nullable=False),
    Column("previous_hash", String, nullable=False),
    Column("hash", String, nullable=False),
)
Index("ix_audit_run_id_seq", audit.c.run_id, audit.c.seq)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("hash", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("entries", Integer, nullable=False),
)

notices = Table(
    "notices",
    metadata,
    Column("id", String, primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String, nullable=False),
    Column("about", String, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("body", JSON, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("due_at", Float),
    Column("sent_at", Float),
    Column("problem", Text),
)
Index(
    "ix_notices_due_at",
    notices.c.due_at,
    sqlite_where=text("due_at IS NOT NULL"),
    postgresql_where=text("due_at IS NOT NULL"),
)
Index(
    "ix_notices_waiting",
    notices.c.about,
    notices.c.seq,
    sqlite_where=text("due_at IS NOT NULL"),
    postgresql_where=text("due_at IS NOT NULL"),
)
Index("ix_notices_kind_at", notices.c.kind, notices.c.at)

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("cluster", String, primary_key=True),
    Column("received_at", Float),
    Column("missed_at", Float),
)
