"""The main job, once, as a platform would do it: over HTTP, from outside."""
