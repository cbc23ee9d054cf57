"""How far a point is while it is being worked off."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("points", sa.Column("progress", sa.JSON))
