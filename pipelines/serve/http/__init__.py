"""The HTTP side of the endpoint: requests, answers and the page."""
