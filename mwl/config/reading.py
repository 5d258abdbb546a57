"""A settings file and the environment, read and laid over each other."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mwl.config.base import Table
from mwl.config.faults import Place, Variable, line
from mwl.config.tables import Settings
from mwl.errors import ConfigError

_MWL = Path(__file__).parent.parent
_MAX_FILE_BYTES = 1_000_000


def shipped(relative: str) -> Path:
    """Find a file of `config/`, in a checkout or in an installed wheel."""
    # Only a wheel has the first; beside one, in site-packages, "config" is somebody else's.
    packed = _MWL / "_config"
    return (packed if packed.is_dir() else _MWL.parent / "config") / relative


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings; ConfigError has one line that names what is wrong."""
    file = path or Path(environ.get("MWL_CONFIG") or shipped("mwl.toml"))
    document = _read(file)
    variables = _overrides(environ)
    for (*sections, key), variable in variables.items():
        table = document
        for depth, section in enumerate(sections, 1):
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                name = ".".join(sections[:depth])
                raise ConfigError(f"{file}: {name}: must be a table, written [{name}]")
        table[key] = variable.value
    try:
        return Settings.model_validate(document, context=file)
    except ValidationError as error:
        raise ConfigError(line(error.errors()[0], file, variables)) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigError(f"{file}: longer than {_MAX_FILE_BYTES} bytes: no settings file")
        return tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{file}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file}: not UTF-8 (at line {line})") from None
    except tomllib.TOMLDecodeError as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{file}: not TOML: {text}") from None


def _known_places(table: type[Table] = Settings, within: Place = ()) -> dict[str, Place]:
    """List what a variable can set, by its name: every key that is no list of tables."""
    places: dict[str, Place] = {}
    for name, field in table.model_fields.items():
        place = (*within, name)
        if isinstance(field.default, Table):
            places |= _known_places(type(field.default), place)
        elif field.default != ():
            places[_variable(place)] = place
    return places


def _variable(place: Place) -> str:
    return f"MWL_{'__'.join(place)}".upper()


def _overrides(environ: Mapping[str, str]) -> dict[Place, Variable]:
    """Pick our variables, by the place in the settings that they override.

    Names with a double underscore are ours; others that start with MWL_ may be somebody
    else's (an orchestrator's for a service called mwl), unless they are one of ours misspelt.
    """
    known = _known_places()
    tables = {_variable((name,)) for name in Settings.model_fields} - known.keys()
    tables |= {_variable(place[:depth]) for place in known.values() for depth in (1, 2)}
    tables -= known.keys()
    squeezed = {name.replace("_", ""): name for name in known}
    found: dict[Place, Variable] = {}
    for name, value in environ.items():
        if name in known:
            found[known[name]] = Variable(name, value)
        elif name in tables:
            key = next((each for each in known if each.startswith(f"{name}__")), None)
            hint = f"; a variable sets one key of it, like {key}" if key else " of the file alone"
            raise ConfigError(f"{name}: is a table{hint}")
        elif name.startswith("MWL_") and name != "MWL_CONFIG":
            meant = squeezed.get(name.upper().replace("_", ""))
            if meant is None and "__" in name:
                meant = next(iter(difflib.get_close_matches(name.upper(), known, 1)), None)
            if meant or "__" in name:
                hint = f"; did you mean {meant}?" if meant else ""
                raise ConfigError(f"{name}: no such setting in the environment{hint}")
    return found
