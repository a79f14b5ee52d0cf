"""The engine of the endpoint: queued takes become files on the actors of a Ray cluster."""
