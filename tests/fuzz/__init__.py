"""Readers of hostile bytes under atheris, a fuzzer that looks at what code they reach.

`python -m tests.fuzz` (make fuzz) runs every target for its share of a minute. targets.py has
them, one.py runs one. What they found is in .fuzz/, and the next run begins from there.
"""
