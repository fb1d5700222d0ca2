"""The admin of the staff: every page of it leaves its trail."""

from typing import TYPE_CHECKING, Any

from moderation import trail

if TYPE_CHECKING:  # unfold has no types
    from django.contrib.admin import AdminSite as UnfoldAdminSite
else:
    from unfold.sites import UnfoldAdminSite


class StaffSite(UnfoldAdminSite):
    """The one site of the admin."""

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Have what a page changes written down."""
        return super().admin_view(trail.recorded(view), cacheable)
