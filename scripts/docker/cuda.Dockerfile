# Lacuna on NVIDIA GPUs (Ampere and later; the host needs a driver for CUDA 13 and NVIDIA's container
# toolkit). From the top of the checkout:
#   docker build --file scripts/docker/cuda.Dockerfile --tag lacuna:cuda .
ARG CUDA=13.0.1

FROM nvidia/cuda:${CUDA}-devel-ubuntu24.04 AS build
WORKDIR /lacuna
COPY scripts/setup.sh scripts/
RUN scripts/setup.sh
COPY . .
# nccl.h is in the image; the library is loaded by name.
RUN cmake --preset cuda -DLACUNA_TESTS=OFF \
 && cmake --build --preset cuda --target lacuna \
 && strip build/cuda/bin/lacuna

# The base image has the CUDA runtime, and NVIDIA's packages of the same release.
FROM nvidia/cuda:${CUDA}-base-ubuntu24.04
RUN apt-get update \
 && apt-get install --yes --no-install-recommends \
      openmpi-bin libhdf5-openmpi-103-1t64 libtomlplusplus3t64 libpcre2-8-0 libopenblas0-pthread \
      zlib1g libzstd1 libsnappy1v5 libbrotli1 liblz4-1 \
      libcublas-13-0 libnccl2 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home lacuna
COPY --from=build /lacuna/build/cuda/bin/lacuna /usr/local/bin/
COPY configs /usr/local/share/lacuna/configs
USER lacuna
WORKDIR /work
ENTRYPOINT ["lacuna"]
