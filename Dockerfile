# One image for both programs. The agent: args ["manager"], as kube-vip's image takes it. The cloud-controller-manager: command
# ["/ccm"], or the path of kube-vip-cloud-provider or of the Equinix CCM.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN mkdir /out && \
    CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/ ./cmd/vip ./cmd/ccm && \
    ln -s vip /out/kube-vip && ln -s ccm /out/kube-vip-cloud-provider && ln -s ccm /out/cloud-provider-equinix-metal

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/ /
# The agent needs root's capabilities NET_ADMIN and NET_RAW; the manifests give it no others.
ENTRYPOINT ["/vip"]
