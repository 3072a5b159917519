"""Runs the migrations on the connection that `authz.directory.postgresql.migrate` hands over, in its transaction."""

from __future__ import annotations

from alembic import context

from authz.directory.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
