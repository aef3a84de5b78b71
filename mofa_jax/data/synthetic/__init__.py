"""Faces rendered from random codes."""
