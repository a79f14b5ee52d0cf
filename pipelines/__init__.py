"""Entry points and wiring: what is run, and how the parts are put together."""

__version__ = "0.1.0"
