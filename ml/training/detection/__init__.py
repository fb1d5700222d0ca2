"""Train the cascade that finds faces: proposal, refinement and output networks."""
