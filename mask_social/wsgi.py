"""The WSGI door for gunicorn."""

import gc
import os

from django.core.wsgi import get_wsgi_application

from mask_social.observability.role import begin

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mask_social.settings")

begin("web")
application = get_wsgi_application()
# What is loaded now stays. Else each full collection would pass over all of it: a tenth of a second in the middle of a
# request that makes many objects, such as a long ranking.
gc.collect()
gc.freeze()
