"""The HTTP side of the endpoint: routes, checks of requests, responses, and the page."""
