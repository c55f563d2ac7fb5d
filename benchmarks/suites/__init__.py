"""Suites: models x targets whose exact costs are kept and may not rise."""
