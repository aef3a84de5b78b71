"""How well an encoder does: the errors of faces, their statistics, the page that shows them."""
