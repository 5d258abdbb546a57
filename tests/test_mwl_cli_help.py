"""Help as a newcomer reads it, and completion as a shell asks for it."""

import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from mwl.cli import app, completion, help  # noqa: A004 - the module's own name
from tests import warm
from tests.peers import require
from tests.serving import PATIENCE_S

MWL = Path(sys.executable).with_name("mwl")


def mwl(*arguments, code=0):
    done = warm.run(arguments, timeout=PATIENCE_S)
    assert done.returncode == code, done
    return done.stdout if code == 0 else done.stderr


def commands():
    """List the names of all commands, groups among them."""
    named = [(each.callback.__name__.rstrip("_"), each.name) for each in app.registered_commands]
    return {name or function for function, name in named} | {
        group.name for group in app.registered_groups
    }


def test_every_command_stands_under_a_heading_of_the_help():
    listed = [name for names in help.SECTIONS.values() for name in names]
    assert set(listed) == commands()
    assert len(listed) == len(set(listed))
    text = mwl("--help")
    places = [text.index(f"\n  {name} ") for name in listed]
    assert places == sorted(places)
    assert "More:" not in text


def test_no_line_of_help_is_cut_and_none_installs_anything():
    for command in [[], *([name] for name in sorted(commands()))]:
        text = mwl(*command, "--help")
        assert not re.search(r"\w\.\.\.$", text.replace("ARGS]...", "").replace("ROLE]...", ""))
        assert "install-completion" not in text
        assert not re.search(r"<(str|int|list|Path)", text)


def test_every_number_is_bounded():
    """SQLite takes none beyond 64 bits, and says so by a defect."""
    found = list(parameters(typer.main.get_command(app)))
    assert {"mwl outbox resend", "mwl messages show"} <= {command for command, _ in found}
    free = [
        (command, each.name)
        for command, each in found
        if getattr(each, "min", None) is not None and each.max is None
    ]
    assert free == []


def parameters(command, path="mwl"):
    yield from ((path, each) for each in command.params)
    for name, each in getattr(command, "commands", {}).items():
        yield from parameters(each, f"{path} {name}")


def test_help_comes_at_once():
    def took():
        begun = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([str(MWL), "--help"], capture_output=True, timeout=PATIENCE_S, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - begun.ru_utime - begun.ru_stime

    # Processor time: this machine's other work is none of ours.
    assert min(took() for _ in range(3)) < 0.2


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("wor", {"worklist"}),
        ("worklist re", {"ready", "reopen"}),
        ("demo --d", {"--day"}),
        ("de", {"demo", "device"}),
    ],
)
def test_a_real_bash_completes(tmp_path, typed, offered):
    bash = require("bash")
    (tmp_path / "mwl").symlink_to(MWL)
    script = tmp_path / "completion.bash"
    script.write_text(mwl("completion", "bash"))
    words = ["mwl", *typed.split(" ")]
    asked = (
        f"source {script}; complete -p mwl >/dev/null || exit 9; "
        f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        "_mwl_completion mwl; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        [bash, "--norc", "-c", asked],
        env={"PATH": os.pathsep.join([str(tmp_path), os.defpath])},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done
    assert set(done.stdout.split()) == offered


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_scripts_are_what_their_shells_read(tmp_path, shell):
    script = mwl("completion", shell)
    first = {"bash": "_mwl_completion() {", "zsh": "#compdef mwl", "fish": "complete --command mwl"}
    assert script.startswith(first[shell])
    if program := shutil.which(shell):
        file = tmp_path / "script"
        file.write_text(script)
        assert subprocess.run([program, "-n", str(file)], timeout=PATIENCE_S).returncode == 0


def test_another_shell_is_refused_with_those_there_are():
    assert mwl("completion", "tcsh", code=2) == (
        "mwl: completion tcsh: no such shell here; there are bash, zsh, fish\n"
    )
