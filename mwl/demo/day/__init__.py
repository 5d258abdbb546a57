"""A department's day, so that every page has something to show.

programme.py says who is to be examined, when and where; orders.py is what the RIS says,
right and wrong; examinations.py what the scanners do, well and badly; commitments.py whom
they ask to keep their images; desk.py what people do. play.py puts it all in order and tells
what to look at.

A seed makes the programme: the same seed, the same day, but for times, identifiers and UIDs.
"""

from mwl.demo.day.play import play

__all__ = ["play"]
