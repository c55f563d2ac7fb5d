"""Tuning: micro-kernels are measured on an emulator, and what their units of work take is fitted."""
