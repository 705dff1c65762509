"""The image: its own steps, run without an engine."""
