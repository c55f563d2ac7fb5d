"""The intermediate representation: types, graph, op table, text form and verifier."""
