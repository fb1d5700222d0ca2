"""The door of the staff: how often it may be tried, and the second thing that it asks for."""
