import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { ConfigError, loadConfig } from '../config/config.ts';
import { serviceVariables } from '../config/variables.ts';

/** Variables that images of others read, of those that the compose file may use: from their documentation. */
const IMAGE_VARIABLES: Readonly<Record<string, readonly string[]>> = {
  postgres: ['POSTGRES_USER', 'POSTGRES_PASSWORD', 'POSTGRES_DB', 'POSTGRES_INITDB_ARGS'],
  'temporalio/server': [
    'DB',
    'DB_PORT',
    'POSTGRES_USER',
    'POSTGRES_PWD',
    'POSTGRES_SEEDS',
    'BIND_ON_IP',
    'LOG_LEVEL',
  ],
  'temporalio/admin-tools': ['SQL_PLUGIN', 'SQL_HOST', 'SQL_PORT', 'SQL_USER', 'SQL_PASSWORD'],
  'temporalio/ui': [
    'TEMPORAL_ADDRESS',
    'TEMPORAL_DEFAULT_NAMESPACE',
    'TEMPORAL_UI_PORT',
    'TEMPORAL_CORS_ORIGINS',
  ],
};

/** What the person sets in .env, with values of the right form. */
const SAMPLE_ENVIRONMENT: Readonly<Record<string, string>> = {
  POSTGRES_PASSWORD: 'letters0and1digits',
  HEED_ADDRESS_KEY: Buffer.alloc(32, 1).toString('base64'),
  HEED_TOKEN_KEYS: Buffer.alloc(32, 2).toString('base64'),
  HEED_PUBLIC_URL: 'https://mail.example.com',
  HEED_SMTP_URL: 'smtp://user:password@relay.example.com:587?tls=required',
  HEED_EHLO_NAME: 'mail.example.com',
  HEED_MESSAGE_ID_DOMAIN: 'mail.example.com',
};

const condition = z.enum(['service_started', 'service_healthy', 'service_completed_successfully']);
const duration = z.string().regex(/^(\d+(h|m|s|ms))+$/);
const text = z.union([z.string(), z.number()]).transform(String);

const Service = z.strictObject({
  image: z.string(),
  build: z.strictObject({ context: z.string(), dockerfile: z.string(), target: z.string() }).optional(),
  command: z.array(text).optional(),
  entrypoint: z.array(text).optional(),
  environment: z.record(z.string(), z.string({ error: 'must be a text; put quotes around it' })).default({}),
  volumes: z.array(z.string()).default([]),
  ports: z.array(z.string().regex(/^127\.0\.0\.1:\d+:\d+$/, 'must open to this machine alone')).default([]),
  healthcheck: z
    .strictObject({
      test: z.tuple([z.enum(['CMD', 'CMD-SHELL'])], z.string()),
      interval: duration,
      timeout: duration,
      retries: z.int().positive(),
      start_period: duration.optional(),
    })
    .optional(),
  depends_on: z.record(z.string(), z.strictObject({ condition })).default({}),
  restart: z.string().regex(/^(no|always|unless-stopped|on-failure(:\d+)?)$/),
  stop_grace_period: duration.optional(),
  init: z.boolean().optional(),
  read_only: z.boolean().optional(),
  tmpfs: z.array(z.string()).optional(),
  cap_drop: z.array(z.string()).optional(),
  security_opt: z.array(z.string()).optional(),
  shm_size: z.string().optional(),
});
type Service = z.infer<typeof Service>;

const ComposeFile = z
  .object({
    name: z.string(),
    services: z.record(z.string(), Service),
    volumes: z.record(z.string(), z.unknown()),
  })
  .catchall(z.unknown());

/**
 * What is wrong with a compose file, one line each: syntax, references between services, volumes and files, and every
 * environment variable, those of Heed by the very code that reads them.
 *
 * @param source text of the compose file
 * @param root folder that the file's paths begin at
 */
export function composeProblems(source: string, root: string): string[] {
  let document: unknown;
  try {
    document = parse(source, { merge: true });
  } catch (error) {
    return [`not YAML: ${(error as Error).message}`];
  }
  const parsed = ComposeFile.safeParse(document);
  if (!parsed.success) return parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);

  const { services, volumes } = parsed.data;
  const problems: string[] = [];
  for (const name of Object.keys(parsed.data)) {
    if (!['name', 'services', 'volumes'].includes(name) && !name.startsWith('x-')) {
      problems.push(`${name}: is nothing that a compose file has, or nothing that this check knows`);
    }
  }
  const used = new Set<string>();
  for (const [name, service] of Object.entries(services)) {
    const report = (problem: string) => problems.push(`services.${name}: ${problem}`);
    checkImage(service, root, report);
    checkDependencies(service, services, report);
    checkVolumes(service, volumes, root, used, report);
    checkCommand(service, root, report);
    checkEnvironment(service, report);
  }
  for (const volume of Object.keys(volumes))
    if (!used.has(volume)) problems.push(`volumes.${volume}: nobody uses it`);
  return problems;
}

type Report = (problem: string) => void;

function checkImage(service: Service, root: string, report: Report): void {
  if (!/^[a-z0-9./-]+:[\w.-]*\d[\w.-]*$/.test(service.image))
    report(`the image ${service.image} has no version`);
  if (service.build === undefined) return;
  const file = join(root, service.build.context, service.build.dockerfile);
  if (!existsSync(file)) report(`there is no ${service.build.dockerfile}`);
  else if (!stagesOf(readFileSync(file, 'utf8')).includes(service.build.target)) {
    report(`${service.build.dockerfile} has no stage ${service.build.target}`);
  }
}

function checkDependencies(
  service: Service,
  services: Readonly<Record<string, Service>>,
  report: Report,
): void {
  for (const [name, { condition: awaited }] of Object.entries(service.depends_on)) {
    const other = services[name];
    if (other === undefined) report(`depends on ${name}, which is no service`);
    else if (awaited === 'service_healthy' && other.healthcheck === undefined) {
      report(`waits for ${name} to be healthy, which has no health check`);
    } else if (
      awaited === 'service_completed_successfully' &&
      /^(always|unless-stopped)$/.test(other.restart)
    ) {
      report(`waits for the end of ${name}, which is always started again`);
    }
  }
}

function checkVolumes(
  service: Service,
  volumes: Readonly<Record<string, unknown>>,
  root: string,
  used: Set<string>,
  report: Report,
): void {
  for (const volume of service.volumes) {
    const [from = ''] = volume.split(':');
    if (from.startsWith('.')) {
      if (!existsSync(join(root, from))) report(`mounts ${from}, which is not there`);
    } else if (from in volumes) used.add(from);
    else report(`uses the volume ${from}, which is not declared`);
  }
}

/** Programs of Heed that are started must be there, and must be in the image. */
function checkCommand(service: Service, root: string, report: Report): void {
  if (service.build === undefined) return;
  for (const word of service.command ?? []) {
    if (word.endsWith('.ts') && !existsSync(join(root, word))) report(`starts ${word}, which is not there`);
  }
}

function checkEnvironment(service: Service, report: Report): void {
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(service.environment))
    environment[name] = interpolate(value, name, report);
  if (service.build !== undefined) {
    for (const name of Object.keys(environment)) {
      if (!name.startsWith('HEED_')) report(`sets ${name}, which Heed does not read`);
    }
    // What is not named here does not reach the container, whatever stands in .env.
    for (const name of Object.keys(serviceVariables)) {
      if (name.startsWith('HEED_') && !(name in environment)) report(`does not hand on ${name}`);
    }
    try {
      loadConfig(environment);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      error.message.split('\n').forEach(report);
    }
    return;
  }
  const known = IMAGE_VARIABLES[service.image.replace(/:[^:]*$/, '')];
  if (known === undefined) report(`the variables of ${service.image} are not known to this check`);
  for (const name of Object.keys(environment)) {
    if (known !== undefined && !known.includes(name))
      report(`sets ${name}, which ${service.image} does not read`);
  }
}

/** Puts in what the person sets: `${NAME:?message}` must be set, `${NAME:-default}` may be. */
function interpolate(value: string, name: string, report: Report): string {
  return value.replaceAll(
    /\$\{(\w+)(?:(:[?-])([^}]*))?\}/g,
    (_whole, variable: string, kind?: string, rest = '') => {
      const set = SAMPLE_ENVIRONMENT[variable];
      if (kind === undefined)
        report(`${name} takes ${variable} without saying what holds when it is not set`);
      if (kind === ':?' && set === undefined)
        report(`${name} asks for ${variable}, which this check does not know`);
      return set ?? (kind === ':-' ? rest : '');
    },
  );
}

/**
 * What is wrong with a Dockerfile: versions of base images, sources of COPY, stages, and who it runs as.
 *
 * @param source its text
 * @param root folder that it is built in
 */
export function dockerfileProblems(source: string, root: string): string[] {
  const problems: string[] = [];
  const lines = source.replaceAll(/\\\n/g, ' ').split('\n');
  const stages = stagesOf(source);
  let user = 'root';
  for (const line of lines) {
    const [instruction, ...words] = line.trim().split(/\s+/);
    if (instruction === 'FROM') {
      user = 'root';
      if (!/:\d/.test(words[0] ?? '')) problems.push(`the base image ${words[0]} has no version`);
    }
    if (instruction === 'USER') user = words[0] ?? '';
    if (instruction !== 'COPY') continue;
    const from = words.find((word) => word.startsWith('--from='))?.slice('--from='.length);
    if (from !== undefined && !stages.includes(from)) problems.push(`copies from ${from}, which is no stage`);
    if (from !== undefined) continue;
    for (const path of words.filter((word) => !word.startsWith('--')).slice(0, -1)) {
      if (!existsSync(join(root, path))) problems.push(`copies ${path}, which is not there`);
    }
  }
  if (user === 'root') problems.push('runs as root');
  return problems;
}

function stagesOf(dockerfile: string): string[] {
  return [...dockerfile.matchAll(/^FROM \S+ AS (\S+)$/gm)].map(([, stage]) => stage!);
}
