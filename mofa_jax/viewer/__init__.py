"""A viewer in the browser: a photograph's face as a mesh, with a slider for each leading mode."""
