"""The stages of a bundle and the runners that drive them, in this process or on Ray."""
