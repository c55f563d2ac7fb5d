"""Forwards what boards on serial lines tell, and brings them updates."""
