"""Measures bundles, compares measurements, and writes reports."""
