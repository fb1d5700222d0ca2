"""See who wears a mask on a photo: faces by a cascade, states by a classifier, no framework needed."""
