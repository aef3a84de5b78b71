"""Face models in the box, and importers of those that people have."""
