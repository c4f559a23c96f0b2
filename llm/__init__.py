"""Hearth's models: one interface over every family and engine. See `load`."""
