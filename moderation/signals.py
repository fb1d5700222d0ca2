"""The one border between the apps."""

from django.dispatch import Signal

# Sent inside the transaction that records a verdict; arguments: verdict_id, post_id. Receivers only enqueue.
verdict_reached = Signal()
# Sent inside the transaction that gives up on a post; arguments: post_id.
post_failed = Signal()
# Sent inside the transaction that withdraws a post; arguments: post_id.
post_withdrawn = Signal()
# Sent inside the transaction that takes an appeal in; arguments: appeal_id.
appeal_opened = Signal()
# Sent inside the transaction that decides an appeal, after verdict_reached where it changes the verdict; arguments:
# appeal_id.
appeal_decided = Signal()
