"""Files, locks, signals, progress bars: what every room stands on."""
