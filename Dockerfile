# Baton and all it needs, as a user without rights:
#   docker build -t baton .
#   docker run --rm -v "$PWD/my-study:/study" --user "$(id -u):$(id -g)" baton --configfile config.yaml
# The same image serves `snakemake --sdm apptainer`, as baton.sif beside the Snakefile:
#   apptainer build baton.sif docker-daemon://baton:latest
FROM python:3.12-slim AS packages
COPY requirements.lock .
RUN python -m venv /opt/baton \
    && /opt/baton/bin/pip install --no-cache-dir --no-compile --require-hashes --requirement requirements.lock

FROM python:3.12-slim
COPY --from=packages /opt/baton /opt/baton
COPY Snakefile config.yaml LICENSE /baton/
COPY rules /baton/rules
COPY scripts /baton/scripts
COPY envs /baton/envs
COPY examples /baton/examples
COPY profiles /baton/profiles
# Whoever the container runs as has a home to write to; the study is what is mounted at /study.
RUN useradd --create-home baton && mkdir /study && chown baton /study
ENV PATH=/opt/baton/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1
USER baton
WORKDIR /study
ENTRYPOINT ["snakemake", "--snakefile", "/baton/Snakefile"]
