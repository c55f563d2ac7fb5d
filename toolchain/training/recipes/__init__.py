"""Recipes: a TOML file that says data, network and training becomes a model, its bundle, and a record of both."""
