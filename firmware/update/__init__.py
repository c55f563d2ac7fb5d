"""Signed updates: keys, images, the boot loader, and the conversation that brings an image into a board's spare slot."""
