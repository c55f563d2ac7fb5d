"""Forwards what boards on serial lines tell."""
