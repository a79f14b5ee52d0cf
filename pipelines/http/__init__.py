"""The HTTP side of the endpoint: what clients say and hear. It asks an Engine and a library of Takes."""
