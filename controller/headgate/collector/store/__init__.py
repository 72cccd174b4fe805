"""Usage in a database, SQLite or Postgres: tables, migrations, writing, asking."""
