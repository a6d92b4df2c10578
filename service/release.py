"""The release of this code, as API, protocol and metrics name it."""

from __future__ import annotations

import importlib.metadata

RELEASE = importlib.metadata.version("acclimate")
