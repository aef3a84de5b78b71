"""Faces found in pictures, judged, and cut out."""
