"""One self-contained HTML page about bundles: measured costs, layers, and memory over time."""
