"""What devices report: one versioned event schema, and sinks that take events. Boards import it: Python 3.9, no packages."""
