"""A database that was restored into another server: what its events need there."""

from django.db import connection, transaction

from incentives.models import Event, EventHorizon

# Positions that the old server gave after the dump was made are never given again, so that a reader's cursor to an
# event that was lost leads to no other.
_LOST_AT_MOST = 10_000_000


def settle() -> int:
    """Bring the events of a younger server's future into its past; return how many.

    Nothing may be served meanwhile. All get the same transaction id, so the order they keep is that of their positions.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        (current,) = cursor.fetchone()
        if not Event.objects.filter(transaction_id__gte=current).exists():
            return 0
        # By hand: pgtrigger.ignore makes two statements one, which server-side binding (MASK_SOCIAL_PREPARE) refuses.
        cursor.execute("ALTER TABLE incentives_event DISABLE TRIGGER USER")
        changed = Event.objects.exclude(transaction_id=0).update(transaction_id=0)
        cursor.execute("ALTER TABLE incentives_event ENABLE TRIGGER USER")
        EventHorizon.objects.update(transaction_id=0)
        cursor.execute(
            "SELECT setval(sequence, nextval(sequence) + %s) "
            "FROM pg_get_serial_sequence('incentives_event', 'position') AS sequence",
            [_LOST_AT_MOST],
        )
    return changed
