"""The worklist service: each public function is one transaction that you can read.

`apply`, `update_patient`, `merge_patients` and `link_patients` take what a message states;
`find` answers a scanner; `listing`, `manual` and `unmerging` serve people.
"""

from mwl.worklist.apply import apply
from mwl.worklist.demographics import update_patient
from mwl.worklist.linked import link_patients
from mwl.worklist.longer import remember
from mwl.worklist.merging import merge_patients
from mwl.worklist.outcome import Applied, Outcome

__all__ = [
    "Applied",
    "Outcome",
    "apply",
    "link_patients",
    "merge_patients",
    "remember",
    "update_patient",
]
