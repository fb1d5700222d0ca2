"""What the audit log hears by signal: who came and went, and what commands do to accounts, outside of any page."""

from typing import Any

from django.contrib.auth.models import Group, User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save

from moderation import audit, trail
from moderation.audit import Deed

_STEPS = {"post_add": "add", "post_remove": "remove", "pre_clear": "clear"}


def connect() -> None:
    """Listen; called once, from ready()."""
    user_logged_in.connect(_signed_in, dispatch_uid="witness.signed_in")
    user_logged_out.connect(_signed_out, dispatch_uid="witness.signed_out")
    user_login_failed.connect(_refused, dispatch_uid="witness.refused")
    for model in (User, Group):
        pre_save.connect(_before_save, sender=model, dispatch_uid=f"witness.before.{model.__name__}")
        post_save.connect(_saved, sender=model, dispatch_uid=f"witness.saved.{model.__name__}")
        post_delete.connect(_deleted, sender=model, dispatch_uid=f"witness.deleted.{model.__name__}")
    for link in (User.groups.through, User.user_permissions.through, Group.permissions.through):
        m2m_changed.connect(_linked, sender=link, dispatch_uid=f"witness.linked.{link.__name__}")


def _signed_in(sender: Any, user: User, **_: Any) -> None:
    audit.record(Deed("sign_in", "auth.user", str(user.pk), str(user), actor=audit.actor(user)))


def _signed_out(sender: Any, user: User | None, **_: Any) -> None:
    if user is not None:
        audit.record(Deed("sign_out", "auth.user", str(user.pk), str(user), actor=audit.actor(user)))


def _refused(sender: Any, credentials: dict[str, Any], **_: Any) -> None:
    # People type passwords into the field of the name: one that is nobody's is not kept.
    known = User.objects.filter(username=credentials.get("username") or "").first()
    if known is None:
        audit.record(Deed("sign_in_failed", details={"why": "no such account"}, actor=audit.NOBODY))
    else:
        audit.record(Deed("sign_in_failed", "auth.user", str(known.pk), str(known), actor=audit.NOBODY))


def _before_save(sender: Any, instance: Any, raw: bool = False, **_: Any) -> None:
    if _is_ours_to_tell():
        before = sender.objects.filter(pk=instance.pk).first() if instance.pk else None
        instance._as_it_was = trail.values_of(before) if before is not None else {}


def _saved(sender: Any, instance: Any, created: bool, **_: Any) -> None:
    if not _is_ours_to_tell():
        return
    changes = trail.difference(instance.__dict__.pop("_as_it_was", {}), trail.values_of(instance))
    if changes:
        audit.record(Deed.to(instance, "add" if created else "change", {"changes": changes}))


def _deleted(sender: Any, instance: Any, **_: Any) -> None:
    if _is_ours_to_tell():
        audit.record(Deed.to(instance, "delete"))


def _linked(sender: Any, instance: Any, action: str, reverse: bool, model: Any, pk_set: Any, **_: Any) -> None:
    if action not in _STEPS or not _is_ours_to_tell() or pk_set == set():
        return
    others = [] if pk_set is None else sorted(str(other) for other in model._base_manager.filter(pk__in=pk_set))
    details = {"links": sender._meta.model_name, _STEPS[action]: others}
    audit.record(Deed.to(instance, "change", details))


def _is_ours_to_tell() -> bool:
    """Say whether no page of the admin is at work, which tells of itself."""
    return trail.current() is None
