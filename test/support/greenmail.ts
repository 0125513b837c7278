import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { loadEmbeddedConfig } from '../../config/config.ts';
import { freePort } from '../../tools/embedded/service.ts';

const VERSION = '2.1.8';
const JAR = `greenmail-standalone-${VERSION}.jar`;
const COPY_GOAL = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy';
const START_MILLISECONDS = 180_000;

/** A message as GreenMail's own API shows it. */
interface GreenMailMessage {
  readonly uid: string;
  readonly subject: string;
  readonly contentType: string;
  /** The whole message as it was stored. */
  readonly mimeMessage: string;
}

/** A running GreenMail (https://greenmail-mail-test.github.io/greenmail/), a mail server written by others. */
export interface GreenMail {
  readonly host: string;
  readonly smtpPort: number;
  /** SMTP with TLS from the first byte, with GreenMail's own self-signed certificate. */
  readonly smtpsPort: number;
  readonly imapPort: number;
  /** Messages in the inbox of a user; a user comes to be with the first message to the address. */
  messagesOf(address: string): Promise<GreenMailMessage[]>;
  stop(): Promise<void>;
}

/**
 * Starts GreenMail on free ports of 127.0.0.1.
 *
 * @param users as `login:password@domain`, who may authenticate
 * @throws Error that says what is missing when Java, Maven or the jar cannot be had
 */
export async function startGreenMail(users: readonly string[] = []): Promise<GreenMail> {
  const jar = await greenMailJar();
  const host = '127.0.0.1';
  const [smtpPort, smtpsPort, imapPort, apiPort] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ];
  const settings = [
    ...Object.entries({ smtp: smtpPort, smtps: smtpsPort, imap: imapPort, api: apiPort }).flatMap(
      ([service, port]) => [`-Dgreenmail.${service}.hostname=${host}`, `-Dgreenmail.${service}.port=${port}`],
    ),
    // It gives each of its services two seconds to come up, which a busy machine may not have, and then stays half up.
    `-Dgreenmail.startup.timeout=${START_MILLISECONDS}`,
    ...(users.length > 0 ? [`-Dgreenmail.users=${users.join(',')}`] : []),
  ];
  const server = spawn('java', [...settings, '-jar', jar], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [server.stdout, server.stderr]) stream.on('data', (chunk) => (output += chunk));
  let failure: string | null = null;
  server.once('error', (error) => (failure = `java cannot be started: ${error.message}`));
  server.once('exit', (code) => (failure ??= `it ended with ${code}`));
  const api = `http://${host}:${apiPort}/api`;

  async function stop(): Promise<void> {
    if (failure !== null) return;
    server.kill('SIGKILL'); // it keeps nothing, and ends slowly when asked
    await once(server, 'exit');
  }

  const deadline = performance.now() + START_MILLISECONDS;
  while (!(await answers(`${api}/service/readiness`))) {
    if (failure === null && performance.now() > deadline) {
      await stop();
      failure = `it was not ready within ${START_MILLISECONDS} ms`;
    }
    if (failure !== null) throw new Error(`GreenMail does not run: ${failure}\n${output}`);
    await sleep(100);
  }
  return {
    host,
    smtpPort,
    smtpsPort,
    imapPort,
    async messagesOf(address) {
      const answer = await fetch(`${api}/user/${encodeURIComponent(address)}/messages/`);
      if (!answer.ok) throw new Error(`GreenMail answered ${answer.status}: ${await answer.text()}`);
      return (await answer.json()) as GreenMailMessage[];
    },
    stop,
  };
}

/** The jar from the cache, fetched with Maven the first time. */
async function greenMailJar(): Promise<string> {
  const cache = join(loadEmbeddedConfig().cacheDir, 'greenmail');
  const jar = join(cache, JAR);
  if (existsSync(jar)) return jar;
  await mkdir(cache, { recursive: true });
  // Moved into place when complete: several test files may come here at once.
  const download = await mkdtemp(join(cache, 'download-'));
  try {
    const artifact = `com.icegreen:greenmail-standalone:${VERSION}`;
    await promisify(execFile)('mvn', [
      '-q',
      '-B',
      COPY_GOAL,
      `-Dartifact=${artifact}`,
      `-DoutputDirectory=${download}`,
    ]);
    await rename(join(download, JAR), jar);
  } catch (error) {
    throw new Error(
      `GreenMail ${VERSION} cannot be had: Maven (mvn) has to be installed and able to fetch it, or ${jar} be put there by hand.`,
      { cause: error },
    );
  } finally {
    await rm(download, { recursive: true, force: true });
  }
  return jar;
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(url)).ok;
  } catch {
    return false;
  }
}
