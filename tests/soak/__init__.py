"""Thousands of mixed messages over several connections, while everything is killed.

`python -m tests.soak` (make soak) sends 20,000 to SQLite, then to PostgreSQL, and kills the
server by kill -9 every few seconds, with PostgreSQL its database as well. feed.py says what
is sent and what must be known afterwards, sender.py sends it until it is answered, check.py
looks into the database when all is over.
"""
