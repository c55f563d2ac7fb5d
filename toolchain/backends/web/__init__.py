"""Folders that a web server can serve: a model, an ES module that runs it, and a page that shows and measures it."""
