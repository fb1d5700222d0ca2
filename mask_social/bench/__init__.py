"""What the service carries: `python -m mask_social.bench --help`. Its results: docs/benchmarks.md, docs/scaling.md.

Whatever is compared takes turns within one run: a machine that is busy with something else so slows both alike.
"""
