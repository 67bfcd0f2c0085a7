# One image for web, worker, importer, engine, clock and deliverer; compose.yaml shows how each is started.
FROM python:3.11-slim AS packages
# requirements-gpu.txt for an image whose engines use CUDA and pyannote: 6 GB more. requirements-traces.txt to send traces.
ARG REQUIREMENTS=requirements.txt
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements*.txt .
# Every package is in the lock with its hash; nothing else may come in by way of a dependency.
RUN /opt/venv/bin/pip install --require-hashes --no-deps -r "$REQUIREMENTS"

FROM python:3.11-slim
# Nothing of the system is needed besides: PyAV brings its own ffmpeg, CTranslate2 its own OpenMP.
RUN useradd --create-home --uid 10001 voxsite \
    && install --directory --owner voxsite --group voxsite /data /app
COPY --from=packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=voxsite.settings \
    VOXSITE_ENV=production \
    VOXSITE_DATA_DIR=/data \
    HF_HOME=/data/huggingface \
    # Of the image for CUDA. CTranslate2 finds libcublas nowhere else.
    LD_LIBRARY_PATH=/opt/venv/lib/python3.11/site-packages/nvidia/cublas/lib \
    HOST=0.0.0.0 \
    PORT=8000
WORKDIR /app
COPY . .
USER voxsite
# Settings refuse to start without these. Nothing of it is kept: the files do not depend on them.
RUN SECRET_KEY=only-for-collecting-static-files VOXSITE_HOSTS=localhost VOXSITE_DATA_DIR=/tmp/data \
    REDIS_URL=redis://localhost DATABASE_URL=postgresql://localhost/none \
    python manage.py collectstatic --noinput \
    && rm -rf /tmp/data
VOLUME /data
EXPOSE 8000
# Of the web process; compose.yaml switches it off for the others.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s \
    CMD ["python", "-m", "voxsite.serve.is_healthy"]
# The same first step as under the supervisor: priority, thread counts, and no fork that outlives its parent.
# Instead of "web": worker, importer, engine, clock or deliverer.
CMD ["python", "-m", "voxsite.serve.child", "web"]
