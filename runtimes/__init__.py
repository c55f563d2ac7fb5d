"""Runs a program somewhere and returns its outputs and what was measured."""
