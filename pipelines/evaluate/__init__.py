"""The evaluation: videos in, a row of figures each and a page out."""
