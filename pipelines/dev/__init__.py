"""Development tools: the demo, the benches, and how the shipped weights were made. Not installed."""
