"""Alerts as tables, in SQLite and Postgres: a projection of the alerts topic, rebuilt from it at any time."""
