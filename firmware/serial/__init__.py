"""The host's end of a board's serial line: frames, requests, and the board that QEMU stands in for."""
