"""Front ends: a model file or folder to a Graph, or a coded error that names the node."""
