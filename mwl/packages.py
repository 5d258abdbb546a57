"""Are the packages `hl7` and `web` ours? PyPI has others of these names."""

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from mwl.errors import ConfigError

_HERE = Path(__file__).parent.parent
# Distributions that put files into our packages, or stand before them on the path.
_RIVALS = {"hl7": "hl7", "web": "web.py"}


def check() -> None:
    """Raise ConfigError where another package has taken a name of ours."""
    for package, rival in _RIVALS.items():
        spec = find_spec(package)
        found = Path(spec.origin).parent.parent if spec and spec.origin else None
        if found != _HERE:
            raise ConfigError(
                f"the Python package {package!r} is not this program's but {found or 'missing'}: "
                "remove it from the path, or install mwl-bridge into an environment of its own"
            )
        try:
            distribution(rival)
        except PackageNotFoundError:
            continue
        raise ConfigError(
            f"{rival!r} from PyPI is installed here and overwrites our package {package!r}: "
            f"pip uninstall {rival}, then pip install --force-reinstall mwl-bridge"
        )
