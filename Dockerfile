# Builds troyd (the server) and troy (the CLI). Both are static, so the second
# stage copies only these two files.
FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -tags nomsgpack -trimpath -ldflags='-s -w' -o /out/ ./cmd/troyd ./cmd/troy

# Alpine rather than scratch: health checks need wget and nc, and outside calls
# need the root certificates.
FROM alpine:3.22
RUN apk add --no-cache ca-certificates \
	&& adduser -D -H -u 10001 troy \
	&& install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /out/ /usr/local/bin/
# A number, so that an orchestrator can verify that the user is not root.
USER 10001:10001
ENV TROY_DATA_DIR=/data
VOLUME /data
EXPOSE 8080 8081
ENTRYPOINT ["troyd"]
CMD ["--help"]
