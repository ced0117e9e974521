"""Exported from the notebooks: edit those, not these files."""
