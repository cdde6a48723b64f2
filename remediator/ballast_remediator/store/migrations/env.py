"""Runs the migrations on the connection that `database` hands over; there is no other way to run them."""

from alembic import context

from ballast_remediator.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
