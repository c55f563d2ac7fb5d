"""From a typed graph and a target to a Program: kernel variants, order, memory plan."""
