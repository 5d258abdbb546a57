"""A courier in a process of its own, to be killed: python -m tests.outbox_process URL DIR PORT…

It delivers to the destinations "ris0", "ris1" … on the ports given, until standard input ends;
MPPS are for the AE title DOSE.
"""

import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import hl7apy.core  # noqa: F401 - loaded before anything is claimed: claims are short here
from hl7apy import load_library

from hl7.outbound import OrderStatus
from mwl import outbox
from mwl.config import Destination, MppsForward
from mwl.db import Database
from mwl.scp.mpps import passed_on
from mwl.scu import MppsForwarder


def main(url: str, folder: str, *ports: str) -> None:
    database = Database(url, data_dir=Path(folder))
    tables = [
        Destination(name=f"ris{i}", host="127.0.0.1", port=int(port), ack_timeout_s=10)
        for i, port in enumerate(ports)
    ]
    statuses = OrderStatus(tables, ZoneInfo("UTC"))
    managers = [
        MppsForward(name=each.name, ae_title="DOSE", host=each.host, port=each.port)
        for each in tables
    ]
    performed = MppsForwarder(managers, database, passed_on, calling="MWL")
    deliver = {
        outbox.Kind.ORDER_STATUS: statuses.deliver,
        outbox.Kind.MPPS: performed.deliver,
    }
    courier = outbox.Courier(database, deliver, look_s=0.05, lease_s=1.0)
    load_library("2.5.1")
    courier.start()
    print("ready", flush=True)
    sys.stdin.read()
    courier.stop(10)
    statuses.close()
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
