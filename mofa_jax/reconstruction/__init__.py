"""The work between photographs and their results: what is read, found, shown and finished."""
