"""Entry points and wiring: the commands, the endpoint, and how their parts are put together."""
