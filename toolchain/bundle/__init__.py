"""The bundle: a folder with a compiled program, its graph and a manifest that lists every file with its digest."""
