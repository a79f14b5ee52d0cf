"""Files of prompts and videos, read and written in the layouts that other tools know."""
