"""A courier in a process of its own, to be killed: python -m tests.outbox_process URL DIR PORT…

It delivers to the destinations "ris0", "ris1" … on the ports given, until standard input ends.
"""

import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import hl7apy.core  # noqa: F401 - loaded before anything is claimed: claims are short here
from hl7apy import load_library

from hl7.outbound import OrderStatus
from mwl import outbox
from mwl.config import Destination
from mwl.db import Database


def main(url: str, folder: str, *ports: str) -> None:
    database = Database(url, data_dir=Path(folder))
    tables = [
        Destination(name=f"ris{i}", host="127.0.0.1", port=int(port), ack_timeout_s=10)
        for i, port in enumerate(ports)
    ]
    statuses = OrderStatus(tables, ZoneInfo("UTC"))
    courier = outbox.Courier(
        database, {outbox.Kind.ORDER_STATUS: statuses.deliver}, look_s=0.05, lease_s=1.0
    )
    load_library("2.5.1")
    courier.start()
    print("ready", flush=True)
    sys.stdin.read()
    courier.stop(10)
    statuses.close()
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
