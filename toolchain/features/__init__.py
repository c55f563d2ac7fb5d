"""Features of sound, computed for training by the same C that devices run."""
