import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { composeProblems, dockerfileProblems } from '../../tools/compose.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const compose = readFileSync(new URL('../../docker-compose.yml', import.meta.url), 'utf8');
const dockerfile = readFileSync(new URL('../../Dockerfile', import.meta.url), 'utf8');

/** The file with one thing changed; fails where there was nothing to change. */
function changed(source: string, from: string, to: string): string {
  expect(source).toContain(from);
  return source.replace(from, to);
}

describe('docker-compose.yml', () => {
  test('is valid as it stands', () => {
    expect(composeProblems(compose, root)).toEqual([]);
  });

  test.each([
    ['a tab', '  postgres:\n', '\tpostgres:\n', /not YAML/],
    ['a misspelled key', 'healthcheck:', 'healtcheck:', /services\.postgres: .*healtcheck/],
    [
      'an unknown dependency',
      'migrate: { condition',
      'migrations: { condition',
      /depends on migrations, which is no service/,
    ],
    [
      'waiting for the health of what has none',
      'migrate: { condition: service_completed_successfully }',
      'migrate: { condition: service_healthy }',
      /waits for migrate to be healthy, which has no health check/,
    ],
    ['an undeclared volume', '- postgres:/var', '- data:/var', /uses the volume data, which is not declared/],
    [
      'a missing file',
      './deploy/temporal-schema.sh:',
      './deploy/nothing.sh:',
      /mounts \.\/deploy\/nothing\.sh/,
    ],
    ['a missing stage', 'target: heed', 'target: api', /has no stage api/],
    ['a missing program', '[node, worker/main.ts]', '[node, worker/start.ts]', /starts worker\/start\.ts/],
    [
      'an image without a version',
      'temporalio/ui:2.49.1',
      'temporalio/ui:latest',
      /temporalio\/ui:latest has no version/,
    ],
    [
      'a variable that Heed does not know',
      'HEED_LOG_LEVEL:',
      'HEED_LOGLEVEL:',
      /HEED_LOGLEVEL: there is no such setting/,
    ],
    ['a setting that is not handed on', '    HEED_IMAP_URL:', '    # ', /does not hand on HEED_IMAP_URL/],
    [
      'a required variable left out',
      '    HEED_MESSAGE_ID_DOMAIN:',
      '    # ',
      /HEED_MESSAGE_ID_DOMAIN: is required and not set/,
    ],
    [
      'a wrong value',
      'HEED_API_PORT: "8080"',
      'HEED_API_PORT: "80800"',
      /HEED_API_PORT: must be a port number/,
    ],
    [
      'a variable that the image does not know',
      'POSTGRES_DB:',
      'POSTGRES_DATABASE:',
      /sets POSTGRES_DATABASE, which postgres:/,
    ],
    [
      'an unknown thing to set in .env',
      '${HEED_EHLO_NAME:?',
      '${HEED_RELAY_URL:?',
      /asks for HEED_RELAY_URL/,
    ],
    ['a port open to everybody', '"127.0.0.1:8080:8080"', '"8080:8080"', /must open to this machine alone/],
  ])('%s is found', (_what, from, to, problem) => {
    expect(composeProblems(changed(compose, from, to), root).join('\n')).toMatch(problem);
  });
});

describe('Dockerfile', () => {
  test('is valid as it stands', () => {
    expect(dockerfileProblems(dockerfile, root)).toEqual([]);
  });

  test.each([
    ['root', 'USER node', '', 'runs as root'],
    ['a missing folder', 'COPY api ./api', 'COPY apis ./api', 'copies apis, which is not there'],
    ['an unknown stage', '--from=packages', '--from=package', 'copies from package, which is no stage'],
    [
      'a base image without a version',
      'FROM node:24.21.0-bookworm-slim AS heed',
      'FROM node:latest AS heed',
      'the base image node:latest has no version',
    ],
  ])('%s is found', (_what, from, to, problem) => {
    expect(dockerfileProblems(changed(dockerfile, from, to), root)).toEqual([problem]);
  });
});
