"""Bytes and folders: where files are kept, who may write, how frames are encoded."""
