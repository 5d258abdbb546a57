"""The demo: a RIS and scanners that play against a running server, over real sockets.

examination.py plays one order from its first message to its end, day.py a department's day.
They are made of ris.py and scanner.py, the two peers, whose patients are people.py's and
whose pictures phantom.py draws; safety.py says where they may play at all.

Nothing here is imported by the server. All that is played is test data: invented names,
identifiers of a namespace DEMO, and accession numbers that begin with the run's name.
"""
