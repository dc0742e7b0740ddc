"""Where data sets come from: published ones, and the user's own."""
