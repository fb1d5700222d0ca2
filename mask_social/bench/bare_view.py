"""A Django of one view that stores the file it is sent, and does nothing else; gunicorn serves it as it does ours."""

import os

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(
    SECRET_KEY="nothing is signed here",  # noqa: S106 - it is so
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    MEDIA_ROOT=os.environ["BARE_VIEW_MEDIA"],
)


@csrf_exempt
def store(request: WSGIRequest) -> JsonResponse:
    """Keep the photo of a form."""
    photo = request.FILES["photos"]
    assert isinstance(photo, UploadedFile)  # noqa: S101 - the form has one
    return JsonResponse({"name": default_storage.save("photo.jpg", photo)}, status=202)


urlpatterns = [path("store", store)]
application = get_wsgi_application()
