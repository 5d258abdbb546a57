"""The process that `warm` forks commands from, and the program that asks it to; run as a file.

It has loaded other people's libraries and ours, and has made a database once, which fills the
caches of what writes SQL: what then runs in a child is what the script `mwl` runs.

    python tests/hearth.py NUMBER              # the hearth: of the socket that it listens on
    python -I -S tests/hearth.py PATH ARGS…    # the program: `mwl ARGS…`, on the hearth of PATH

The program shall start in no time, so little is imported here.
"""

import json
import os
import signal
import socket
import sys
from contextlib import suppress

_LIBRARIES = (
    *("sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql", "sqlmodel", "psycopg"),
    *("pydantic_settings", "structlog", "typer", "rich.console", "rich.table", "http.client"),
    *("numpy", "pydicom", "pynetdicom", "hl7apy.core", "anyascii", "argon2", "alembic.command"),
    *("apscheduler.schedulers.background", "flask", "flask_wtf", "flask_bootstrap", "spectree"),
    "granian",
)
_LONGEST = 200_000  # bytes of a request: arguments and environment
_BIN = os.path.dirname(sys.executable)  # noqa: PTH120 - pathlib takes longer to load than all this


def ask(path, arguments, environ, streams, folder, module=""):
    """Have a command run; give the socket that tells its number, and then its exit code.

    `module` runs instead of `mwl`.
    """
    asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    asking.connect(path)
    request = {"arguments": list(arguments), "environ": dict(environ)}
    request |= {"folder": folder, "module": module}
    socket.send_fds(asking, [json.dumps(request).encode()], streams)
    return asking


def answer(asking):
    """Read a number."""
    read = asking.recv(100)
    assert read, "the hearth is out"
    return json.loads(read)


def burn(number):
    """Fork for each request; give in the child the module that it asks for, or ""."""
    import gc
    import importlib
    import selectors

    for library in (*_LIBRARIES, *_ours()):
        importlib.import_module(library)
    _make_a_database()
    gc.collect()
    gc.freeze()
    listener = socket.socket(fileno=number)
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin.buffer, selectors.EVENT_READ, _end)
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is _end:
                    _end(selector)
                elif key.data:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _tell_end(*key.data)
                else:
                    asking, _ = listener.accept()
                    child, module = _fork(asking)
                    if not child:
                        listener.close()
                        return module
                    made = (child, asking)
                    selector.register(os.pidfd_open(child), selectors.EVENT_READ, made)


def _ours():
    """Name our own modules, but for those that are programs or read by Alembic."""
    import pkgutil

    for package in map(__import__, ("mwl", "hl7", "web")):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations" not in module.name and not module.name.endswith(".__main__"):
                yield module.name


def _make_a_database():
    import contextlib
    import tempfile
    from pathlib import Path

    from mwl.db.migrate import upgrade

    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w") as nowhere,  # noqa: PTH123 - see above
        contextlib.redirect_stdout(nowhere),
    ):
        upgrade("sqlite:///warm.db", Path(folder))


def _fork(asking):
    data, streams, _, _ = socket.recv_fds(asking, _LONGEST, 3)
    child = os.fork()
    if child:
        asking.send(json.dumps(child).encode())
        for stream in streams:
            os.close(stream)
        return child, ""
    asking.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    request = json.loads(data)
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["folder"])
    sys.argv = [f"{_BIN}/mwl", *request["arguments"]]
    return 0, request["module"]


def _tell_end(child, asking):
    _, status = os.waitpid(child, 0)
    with suppress(OSError):  # nobody waits for it
        asking.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())
    asking.close()


def _end(selector):
    """End, and whoever runs still."""
    for key in list(selector.get_map().values()):
        if isinstance(key.data, tuple):
            os.kill(key.data[0], signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1].isdecimal():
        sys.path[0] = _BIN  # as it is of a script there
        if _module := burn(int(sys.argv[1])):
            import runpy

            sys.path[0] = os.getcwd()  # noqa: PTH109 - as of `python -m`
            runpy.run_module(_module, run_name="__main__", alter_sys=True)
            sys.exit()
        from mwl.cli import main

        sys.exit(main())
    with ask(sys.argv[1], sys.argv[2:], os.environ, [0, 1, 2], os.getcwd()) as _asking:  # noqa: PTH109
        answer(_asking)
        _code = answer(_asking)
    sys.exit(_code if _code >= 0 else 128 - _code)
