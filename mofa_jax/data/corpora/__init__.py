"""Corpora of face crops on disk: made, resumed, read."""
