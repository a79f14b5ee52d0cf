"""The endpoint: videos on demand over HTTP, on Ray Serve."""
