"""Instruments that measure what a board draws."""
