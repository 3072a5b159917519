"""What is PostgreSQL's alone: parameters of a connection, engines, migrations, roles. It needs psycopg."""
