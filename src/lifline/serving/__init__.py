"""Predictions: from a picture to a class, in a terminal, over HTTP and on a page."""
