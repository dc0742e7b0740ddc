"""What a network does with a data set."""
