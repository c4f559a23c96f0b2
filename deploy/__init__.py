"""Hearth on more than one machine. See docs/deploy.md."""
