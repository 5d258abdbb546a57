"""What each role runs: the one place where edges, services and settings meet.

Each `run` is called in a process of its own, after the fork, and makes there whatever has
threads or connections.
"""
