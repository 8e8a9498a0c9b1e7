# Lacuna on CPUs. From the top of the checkout:
#   docker build --file scripts/docker/cpu.Dockerfile --tag lacuna .

FROM debian:12-slim AS build
WORKDIR /lacuna
# Packages first: a change of the sources does not install them again.
COPY scripts/setup.sh scripts/
RUN scripts/setup.sh
COPY . .
RUN cmake --preset cpu -DLACUNA_TESTS=OFF \
 && cmake --build --preset cpu --target lacuna \
 && strip build/cpu/bin/lacuna

FROM debian:12-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends \
      openmpi-bin libhdf5-openmpi-103-1 libtomlplusplus3 libpcre2-8-0 libopenblas0-pthread \
      zlib1g libzstd1 libsnappy1v5 libbrotli1 liblz4-1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home lacuna
COPY --from=build /lacuna/build/cpu/bin/lacuna /usr/local/bin/
COPY configs /usr/local/share/lacuna/configs
USER lacuna
WORKDIR /work
ENTRYPOINT ["lacuna"]
