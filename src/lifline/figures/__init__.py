"""Figures as PNGs."""
