"""What is SQLite's own: engine, session, watching for changes, migrations."""
