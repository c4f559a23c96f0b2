"""Where weights come from: the hubs, a package index, this disk; and the jobs that download in the background."""

from llm.sources.base import FetchProgress
from llm.sources.fetch import fetch, usable_sources

__all__ = ["FetchProgress", "fetch", "usable_sources"]
