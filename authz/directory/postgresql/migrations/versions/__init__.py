"""The steps of the schema, in order; PostgreSQL begins at 0012."""
