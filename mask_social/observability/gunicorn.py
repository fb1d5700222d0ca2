"""gunicorn's own settings, read by ``--config python:…`` before Django is there: its lines look like everybody's.

The lines for each request come from the middleware, which knows more about it.
"""

from mask_social.env import log_format, log_level
from mask_social.observability import logs
from mask_social.web_memory import post_request

__all__ = ["accesslog", "logconfig_dict", "post_request"]

accesslog = None
logconfig_dict = logs.configuration(log_format(), log_level())
