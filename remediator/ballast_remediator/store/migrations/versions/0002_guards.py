"""What people stop, approve and approve beforehand; indexes for what the guards ask."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "stops",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("cluster", sa.String(), nullable=True),
        sa.Column("runbook", sa.String(), nullable=True),
        sa.Column("target", sa.String(), nullable=True),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=True),
        sa.Column("lifted_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stops")),
    )
    op.create_index("ix_stops_lifted_at", "stops", ["lifted_at"], unique=False)
    op.create_table(
        "approvals",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("plan_hash", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("acknowledged", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_approvals_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "plan_hash", "person", name=op.f("pk_approvals")),
    )
    op.create_table(
        "preapprovals",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("runbook", sa.String(), nullable=False),
        sa.Column("runbook_digest", sa.String(), nullable=False),
        sa.Column("targets", sa.JSON(), nullable=False),
        sa.Column("limits", sa.JSON(), nullable=False),
        sa.Column("acknowledged", sa.JSON(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("given_at", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_preapprovals")),
    )
    op.add_column("runs", sa.Column("approvals_needed", sa.Integer(), server_default="1", nullable=False))
    op.add_column("runs", sa.Column("approvers", sa.JSON(), nullable=True))
    op.add_column("runs", sa.Column("preapproved_by", sa.JSON(), nullable=True))
    op.add_column("runs", sa.Column("waiting_for", sa.String(), nullable=True))
    op.create_index("ix_runs_waiting_for", "runs", ["waiting_for"], unique=False)
    op.create_index("ix_runs_latest", "runs", ["cluster", "runbook", "target", "finished_at"], unique=False)
    op.create_index(
        "ix_runs_begun",
        "runs",
        ["cluster", "runbook", "started_at"],
        unique=False,
        sqlite_where=sa.text("started_at IS NOT NULL"),
        postgresql_where=sa.text("started_at IS NOT NULL"),
    )
    op.create_index(
        "ix_runs_acted",
        "runs",
        ["cluster", "runbook", "target"],
        unique=False,
        sqlite_where=sa.text("started_at IS NOT NULL OR rejected = 1"),
        postgresql_where=sa.text("started_at IS NOT NULL OR rejected"),
    )
    op.create_index(
        "ix_runs_unknown",
        "runs",
        ["cluster", "target"],
        unique=False,
        sqlite_where=sa.text("state = 'outcome_unknown'"),
        postgresql_where=sa.text("state = 'outcome_unknown'"),
    )
    op.create_index(
        "ix_runs_due_at",
        "runs",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
