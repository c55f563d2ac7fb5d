"""How each kernel variant takes a node: what it accepts, how it packs weights, which literals it is specialised with."""
