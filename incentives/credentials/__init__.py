"""Badges that an author can carry elsewhere: signed Open Badges 3.0, a status list, a public page for each award."""
