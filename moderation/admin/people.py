"""The people of the staff and their roles, in the looks of the other pages."""

from typing import TYPE_CHECKING

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.forms import (  # type: ignore[import-untyped]  # unfold ships no types
    AdminPasswordChangeForm,
    UserChangeForm,
    UserCreationForm,
)

from moderation.sign_in import second_factor, throttle
from moderation.trail import Told

if TYPE_CHECKING:  # unfold has no types, and Django's classes take theirs while they are checked alone
    Users = UserAdmin[User]
    Groups = GroupAdmin
    Looks = object
else:
    from unfold.admin import ModelAdmin as Looks

    Users, Groups = UserAdmin, GroupAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class PersonAdmin(Told, Users, Looks):
    list_display = ("username", "roles", "has_second_factor", "is_staff", "is_superuser", "is_active", "last_login")
    actions = ("unlock_selected", "remove_second_factor")
    filter_horizontal = ()
    autocomplete_fields = ("groups",)
    # No single permissions here: a narrower role is a group of one's own.
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Who it is", {"fields": ("first_name", "last_name", "email")}),
        ("What the person may do", {"fields": ("is_active", "is_staff", "is_superuser", "groups")}),
        ("When", {"fields": ("last_login", "date_joined")}),
    )
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Fetch the roles along."""
        return super().get_queryset(request).select_related("second_factor").prefetch_related("groups")

    def has_superuser_permission(self, request: HttpRequest) -> bool:
        """Ask for an administrator."""
        return bool(getattr(request.user, "is_superuser", False))

    @admin.action(description="Let them try to sign in again", permissions=["superuser"])
    def unlock_selected(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Open the door for accounts that were locked by too many tries."""
        opened = sum(throttle.unlock(person) for person in queryset)
        messages.success(request, f"{opened} may try again.")

    @admin.action(description="Remove their second factor", permissions=["superuser"])
    def remove_second_factor(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Let those sign in by password alone whose app and codes are lost."""
        removed = sum(second_factor.remove(person) for person in queryset)
        messages.success(request, f"{removed} second factors were removed.")

    @admin.display(description="second factor", boolean=True)
    def has_second_factor(self, person: User) -> bool:
        """Say whether signing in asks for a code."""
        return hasattr(person, "second_factor")

    @admin.display(description="roles")
    def roles(self, person: User) -> str:
        """Return what the person may do, by name."""
        return ", ".join(sorted(group.name for group in person.groups.all())) or "–"


@admin.register(Group)
class RoleAdmin(Told, Groups, Looks):
    pass
