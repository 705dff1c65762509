"""The chart: rendered with a real helm, checked against schemas, and its parts run against a real service."""
