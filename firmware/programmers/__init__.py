"""Writing an image to a real board: one module a tool, all with the same interface, and the table of them."""
