"""Networks as files: from params, to a file and back, and over a data set."""
