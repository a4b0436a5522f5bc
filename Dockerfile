# The image of bearergate: one static binary, trust anchors and the licence.
#
#   docker build -t bearergate .
#   docker run --read-only -v ./bearergate.yaml:/etc/bearergate/bearergate.yaml:ro bearergate
#
# The same sources, VERSION, COMMIT and Go version give the same files, to the
# byte: -trimpath leaves the directory out, -buildvcs=false the checkout, and
# every file gets the same time.
# Modules and compiled packages are kept between builds; only what they are made
# of decides whether they are used again.
# GO_IMAGE is for machines that can pull nothing and have a Go image of their own.
ARG GO_IMAGE=pinned

FROM --platform=$BUILDPLATFORM golang:1.26.8@sha256:0f063af2d465d8dcae54cce04278ada488b96f77b42449c8d071e47d016cc65a AS pinned

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=dev
ARG COMMIT=unknown
ARG TARGETOS
ARG TARGETARCH
# grpcnotrace leaves out gRPC's own trace pages, which nobody could reach, and
# with them what keeps the linker from dropping unused methods.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -tags grpcnotrace \
      -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" \
      -o /image/bearergate . \
 && mkdir -p /image/etc/ssl/certs /image/etc/bearergate /image/licenses \
 && cp -L /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && cp LICENSE /image/licenses/ \
 && chmod -R u=rwX,go=rX /image \
 && find /image -exec touch -h -d '1970-01-01 00:00:00' {} +

FROM scratch
ARG VERSION=dev
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="Bearergate" \
      org.opencontainers.image.description="An Envoy external-authorization service that decides by OAuth 2.0 access tokens" \
      org.opencontainers.image.url="https://github.com/bearergate/bearergate" \
      org.opencontainers.image.source="https://github.com/bearergate/bearergate" \
      org.opencontainers.image.documentation="https://github.com/bearergate/bearergate#readme" \
      org.opencontainers.image.vendor="Bearergate" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
COPY --from=build /image/ /
ENV BEARERGATE_CONFIG=/etc/bearergate/bearergate.yaml
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 9191 9192
# Asks 127.0.0.1:9191. With another grpc_address, or with TLS on it, give the
# container a check of its own.
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["/bearergate", "health"]
ENTRYPOINT ["/bearergate"]
CMD ["serve"]
