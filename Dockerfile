# The image of the manager: one static program, no shell, no root. It is built for the platform asked for by a compiler
# that runs natively:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=v1.0.0 -t quay.io/images-io/tagger:v1.0.0 .
FROM --platform=$BUILDPLATFORM docker.io/library/golang:1.26.8 AS build
WORKDIR /src
# The modules have a layer of their own: they change less often than the source.
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY cmd cmd
COPY controllers controllers
COPY internal internal
COPY webhooks webhooks
ARG TARGETOS TARGETARCH VERSION=devel
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/images-io/tagger/internal/app.version=$VERSION" -o /manager ./cmd/manager

# Certificate authorities, time zones, a user, and nothing else.
FROM gcr.io/distroless/static:nonroot
ARG VERSION=devel
LABEL org.opencontainers.image.title="Tagger" \
      org.opencontainers.image.description="Pins image tags to digests, generation by generation, and rolls the workloads that use them" \
      org.opencontainers.image.source="https://github.com/images-io/tagger" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
COPY LICENSE /licenses/LICENSE
COPY --from=build /manager /manager
# The library that reads registries.conf wants a home, also where the user is an arbitrary one.
ENV HOME=/
USER 65532:65532
ENTRYPOINT ["/manager"]
