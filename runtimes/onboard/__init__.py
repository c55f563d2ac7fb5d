"""What runs on a Linux board, with nothing but Python 3.9 and NumPy: bundles, their libraries, LiteRT where it is there."""
