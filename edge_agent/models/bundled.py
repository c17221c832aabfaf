"""Files that come with edge-agent itself: the catalog and small models."""

from __future__ import annotations

from pathlib import Path

from cloud_bridge.protocol.problems import Broken

_HERE = Path(__file__).resolve().parent
# In a wheel the data lies inside the package; in a source checkout at the top.
_PLACES = (_HERE / "data", _HERE.parents[1] / "models")


def data_dir() -> Path:
    """The folder with `catalog.toml`. Raises Broken code "installation_incomplete" if there is none."""
    for place in _PLACES:
        if (place / "catalog.toml").is_file():
            return place
    raise Broken(
        "The model catalog that comes with edge-agent is missing.",
        code="installation_incomplete",
        hint="Install edge-agent again.",
    )


def bundled_path(relative: str) -> Path:
    """Where the bundled file or folder `relative` is, or would be; does not check that it exists."""
    return data_dir() / relative
