"""Graph rewrites: every pass takes a graph and returns one; `canonical.PASSES` is the order they run in."""
