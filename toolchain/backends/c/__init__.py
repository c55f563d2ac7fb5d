"""The C backend: a Program printed as plain C11 that builds without Strop."""
