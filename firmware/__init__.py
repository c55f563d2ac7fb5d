"""Turns generated C into an ELF for a target: compilers, start-up code, linker scripts, sizes."""
