"""An index for lists of the runs in one state."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_index("ix_runs_state_created_at", "runs", ["state", "created_at"], unique=False)
