"""Alembic runs this: the connection comes from `headgate.collector.store.database.migrate`."""

from alembic import context
from headgate.collector.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
