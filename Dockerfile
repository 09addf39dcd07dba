# For CPU and CUDA: the locked torch brings its CUDA libraries, and runs without a GPU. README says how to run it.
FROM python:3.11.14-slim-bookworm

# Any user may run it (docker run --user): HOME and the names do not come from /etc/passwd, and git accepts a mounted
# repository of another owner.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory '*' \
    && useradd --create-home --uid 1000 study \
    && mkdir /repository \
    && chmod a+rwx /home/study /repository
ENV HOME=/home/study LOGNAME=study USER=study
ENV VGG_ABLATION_VENV=/opt/venv PATH=/opt/venv/bin:$PATH

# Outside /repository, where a mounted repository would hide it. Only what the set-up reads: an edit elsewhere keeps this
# layer, the largest. Its date lies ahead, so that `make` never tries to renew it: build again after the lock changed.
WORKDIR /repository
COPY Makefile pyproject.toml requirements.lock README.md LICENSE ./
COPY src/vgg_ablation/__init__.py src/vgg_ablation/
RUN PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 make set-up && touch --date=2100-01-01 /opt/venv/.set-up

COPY . .
RUN chmod -R a+rwX .
USER study
CMD ["make", "reproduce"]
