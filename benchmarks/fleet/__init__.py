"""What the devices of a fleet are to run, and what they do run."""
