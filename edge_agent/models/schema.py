"""`python -m edge_agent.models.schema > models/manifest.schema.json`: the manifest's JSON schema, from its classes."""

from __future__ import annotations

import json
import sys

from edge_agent.models.manifest import MANIFEST


def schema_text() -> str:
    """The schema as it is committed."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **MANIFEST.json_schema()}
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
