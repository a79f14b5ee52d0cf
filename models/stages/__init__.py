"""The two stages, base model and refiner, and the bundle that their networks come from."""
