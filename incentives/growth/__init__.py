"""What grows with the tables: ``manage.py bench_growth`` fills them and measures the service's own queries over them.

`rows` writes posts, verdicts, matches, ledger entries, boosts, events and deliveries by the million, `work` names what
the service then does, and `plans` measures it and reads how PostgreSQL went about it. docs/scaling.md has the outcome.
"""
