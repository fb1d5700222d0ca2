"""What a process is for, said once it is forked and before it does anything."""

from mask_social.observability import metrics, tracing


def begin(role: str) -> None:
    """Count and trace this process from here on."""
    metrics.begin(role)
    tracing.start(role)
