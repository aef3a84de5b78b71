"""Built-in face models, and importers of those that people have."""
