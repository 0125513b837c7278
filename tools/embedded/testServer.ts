import { chmodSync, copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { EmbeddedConfig } from '../../config/config.ts';
import { ensureProgram, findOnPath, runBuild } from './executables.ts';
import { type Progress, SetUpError } from './service.ts';

/** As in tools/test-server/pom.xml. */
const VERSION = '1.38.0';
const NAME = 'temporal-test-server';
const pom = fileURLToPath(new URL('../test-server/pom.xml', import.meta.url));

/**
 * Path of Temporal's time-skipping test server, for
 * `TestWorkflowEnvironment.createTimeSkipping({ server: { executable: { type: 'existing-path', path } } })`.
 */
export function ensureTestServer(config: EmbeddedConfig, progress: Progress): Promise<string> {
  return ensureProgram(
    {
      name: NAME,
      version: VERSION,
      setting: 'HEED_TEST_SERVER_BINARY',
      configured: config.testServerBinary,
      sdkServer: 'time-skipping',
      build: (into, report) => fetchWithMaven(into, config.path, report),
    },
    config,
    progress,
  );
}

async function fetchWithMaven(into: string, path: string, progress: Progress): Promise<void> {
  const how = 'Install Java 17 and Maven, or set HEED_TEST_SERVER_BINARY to a temporal-test-server.';
  const missing = `Temporal's time-skipping test server cannot be downloaded from here, and Maven is missing. ${how}`;
  const java = findOnPath('java', path);
  if (java === undefined) throw new SetUpError(missing.replace('Maven is', 'Java is'));
  progress(`Fetching ${NAME} ${VERSION} with Maven`);
  copyFileSync(pom, join(into, 'pom.xml'));
  await runBuild(
    `Fetching ${NAME}`,
    [
      'mvn',
      '--batch-mode',
      '--no-transfer-progress',
      'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies',
      `-DoutputDirectory=${join(into, 'lib')}`,
      '-DincludeScope=runtime',
    ],
    { cwd: into, missing },
    progress,
  );
  writeFileSync(join(into, NAME), startScript);
  chmodSync(join(into, NAME), 0o755);
}

/**
 * The SDK ends the server with its test environment; a test process that was killed does not, so that a watcher does.
 * The JVM flags are for a short life on few cores.
 */
const startScript = `#!/bin/sh
home=$(dirname "$0")
starter=$PPID
server=$$
(
  while kill -0 "$starter" && kill -0 "$server"; do sleep 2; done
  kill -KILL "$server"
) </dev/null >/dev/null 2>&1 &
exec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx512m -cp "$home/lib/*" io.temporal.testserver.TestServer "$@"
`;
