"""Modality Performed Procedure Step as SCP (PS3.4 annex F.7 and F.8).

Start reading at service.py. reading.py makes of a data set what the procedures service
takes, requirements.py knows what has to be there, retrieval.py writes answers to N-GET,
refusal.py says no; forwarding.py writes what other PPS managers are sent.
"""

from mwl.scp.mpps.forwarding import passed_on
from mwl.scp.mpps.service import MppsRetrieveService, MppsService

__all__ = ["MppsRetrieveService", "MppsService", "passed_on"]
