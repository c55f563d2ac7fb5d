"""Strop's compiler: intermediate representation, front ends, passes, lowering, backends and the command line."""
