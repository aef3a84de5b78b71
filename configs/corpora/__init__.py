"""Corpora; each module's get_config() overrides a few fields of default.py."""
