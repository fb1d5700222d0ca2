"""Train the weights the package runs on; the one place that may import torch."""
