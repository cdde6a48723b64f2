"""What came of shadowed runs."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "shadows",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("resolved_at", sa.Float(), nullable=True),
        sa.Column("next_look_at", sa.Float(), nullable=True),
        sa.Column("looks", sa.JSON(), nullable=False),
        sa.Column("mark", sa.String(), nullable=True),
        sa.Column("marked_by", sa.String(), nullable=True),
        sa.Column("mark_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_shadows_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_shadows")),
    )
    op.create_index("ix_shadows_since", "shadows", ["since"], unique=False)
    op.create_index("ix_shadows_next_look_at", "shadows", ["next_look_at"], unique=False)
    op.create_index(
        "ix_shadows_unresolved",
        "shadows",
        ["fingerprint"],
        unique=False,
        sqlite_where=sa.text("resolved_at IS NULL"),
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
