"""How orders end without anybody's doing: the close rule, quiet studies, expiry.

`mwl.closing_rules` says when; here it is looked at and written. An order that waits for
something has `check_at`: when to look again. It is set when a step is completed (`consider`)
and when images have come from a scanner that sends no MPPS (`sweep` finds them). `follow`
looks at the orders whose time has come, so what waits for nothing costs nothing. Any number
of nodes may do so: a change is a short transaction that holds its order and judges it anew.
"""

from mwl.closing.choices import Choices
from mwl.closing.judging import ASKED, close, consider, effects
from mwl.closing.sweeps import follow, sweep

__all__ = ["ASKED", "Choices", "close", "consider", "effects", "follow", "sweep"]
