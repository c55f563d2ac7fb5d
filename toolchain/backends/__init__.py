"""Printers of compiled graphs: one folder per output format."""
