"""Explain a message: what each of its fields becomes, what is missing, what would change.

`Explainer` tells it as an `Explanation`, and changes nothing. Start reading at explaining.py;
trying.py is how it is found out which field gives which value, by asking the mapping itself.
"""

from hl7.explain.explaining import Explainer
from hl7.explain.files import encoded, split
from hl7.explain.model import Explanation, Use

__all__ = ["Explainer", "Explanation", "Use", "encoded", "split"]
