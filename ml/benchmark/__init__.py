"""Measure ours beside other detectors, each in a process of its own, photo by photo in turn."""
