"""How long a ranking takes at the server, beside a bare view that reads and writes the same JSON.

Both run in this process through the whole of Django, middleware included, and take turns, so that a machine that is busy
slows both alike. What is made for it is taken back.
"""

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import batched
from statistics import median, quantiles
from types import SimpleNamespace
from typing import Any

from django.core.handlers.base import BaseHandler
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.test import RequestFactory
from django.urls import path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from incentives.models import Boost
from moderation import api_keys
from moderation.models import ApiKey, Author, Platform, Policy, Post, Verdict

RANK = "/api/v1/feed/rank"
# Every second post is boosted, and an author has ten in the table.
BOOSTED_EVERY = 2
POSTS_PER_AUTHOR = 10
BATCH = 5_000
WARM_UP = 3
