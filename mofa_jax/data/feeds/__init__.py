"""Batches on the devices."""
