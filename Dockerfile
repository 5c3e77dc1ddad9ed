# Ingest, relay and dedicated edge: one static binary and the certificate authorities it trusts. `make package` builds both into
# dist/image/ for each architecture, and this image from there.
FROM scratch
ARG TARGETARCH
COPY dist/image/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY dist/image/${TARGETARCH}/bond-cloud /bond-cloud
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/bond-cloud"]
CMD ["ingest"]
