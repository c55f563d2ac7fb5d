"""Turns a bundle's C program into what other build systems take: one module a system, each a function to files."""
