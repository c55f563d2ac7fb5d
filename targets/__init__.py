"""What hardware exists: one sourced TOML file per core and per board, and the loader that checks them."""
