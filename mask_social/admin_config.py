"""The admin as an app, with our own site in it."""

from django.contrib.admin.apps import AdminConfig


class StaffAdminConfig(AdminConfig):
    default_site = "moderation.admin_site.StaffSite"
