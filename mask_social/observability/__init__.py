"""Seeing it run: what is counted and measured, what is logged, and what is traced."""
