"""MLPerf Tiny on a board: performance, accuracy and energy as its public runner measures them, and results in its layout."""
