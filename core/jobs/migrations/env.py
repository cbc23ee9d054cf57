"""What Alembic runs: the steps, in the transaction of the connection it was handed."""

from __future__ import annotations

from alembic import context

from core.jobs.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
context.run_migrations()
