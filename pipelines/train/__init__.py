"""Training of CAM and APM on captioned videos, and of any other stage on several workers."""
