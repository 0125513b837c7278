import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { ZodError } from 'zod';
import { type Controlled, control, overview } from './control.ts';
import { SalesforceError } from './errors.ts';
import { type FaultKind, raiseFault, Traffic } from './faults.ts';
import { type ConnectedApp, TokenEndpoint } from './oauth.ts';
import { Org } from './org.ts';
import { Rest } from './rest.ts';
import { answerSoap } from './soap.ts';

/** Versions that it answers to: resources_versions.htm. */
const VERSIONS = { oldest: 58, newest: 66 };

/** A running org, seen from the process that runs it. */
export interface SalesforceSimulator extends Controlled {
  /** Login server and instance in one. */
  readonly url: string;
  close(): Promise<void>;
}

/** What the connected app is called where nothing else is said. */
export const SIMULATED_APP: ConnectedApp = {
  clientId: 'heed',
  clientSecret: 'simulated-secret',
  username: 'heed@example.com',
  publicKey: null,
};

/**
 * Starts a Salesforce of one's own: what the public documentation says of OAuth, REST and the bits of SOAP that are
 * needed, on 127.0.0.1, with records in memory.
 *
 * @throws the system's error (`code` EADDRINUSE) when the port is taken
 */
export async function startSalesforceSimulator(
  options: { port?: number; app?: ConnectedApp } = {},
): Promise<SalesforceSimulator> {
  const org = new Org();
  const traffic = new Traffic();
  const tokens = new TokenEndpoint(org, options.app ?? SIMULATED_APP);
  const parts: Parts = { org, traffic, tokens, rest: new Rest(org, traffic), url: '' };
  const server = createServer((request, response) => {
    handle(parts, request, response).catch((error: unknown) => {
      if (!response.headersSent)
        send(response, 500, [{ errorCode: 'UNKNOWN_EXCEPTION', message: String(error) }]);
    });
  });
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');
  parts.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    org,
    traffic,
    tokens,
    url: parts.url,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Parts extends Controlled {
  readonly rest: Rest;
  url: string;
}

async function handle(parts: Parts, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', parts.url);
  const body = await readBody(request);
  if (url.pathname === '/simulator') return answerControl(parts, request.method ?? 'GET', body, response);
  const { traffic } = parts;
  if (traffic.latencyMs > 0) await delay(traffic.latencyMs);
  const fault = traffic.take(url.pathname);
  if (fault === 'drop') {
    request.socket.destroy();
    return;
  }
  try {
    if (fault !== null) raiseFault(fault);
    answer(parts, request, url, body, response, fault);
  } catch (error) {
    if (!(error instanceof SalesforceError)) throw error;
    const { status, errorCode, message, fields } = error;
    send(response, status, [{ message, errorCode, ...(fields.length > 0 ? { fields } : {}) }], traffic);
  }
}

function answer(
  parts: Parts,
  request: IncomingMessage,
  url: URL,
  body: string,
  response: ServerResponse,
  fault: FaultKind | null,
): void {
  const { tokens, traffic, rest, org } = parts;
  if (url.pathname === '/services/oauth2/token') {
    const { status, body: token } = tokens.answer(new URLSearchParams(body), parts.url);
    send(response, status, token);
    return;
  }
  if (url.pathname.startsWith('/services/Soap/')) {
    traffic.count('soap');
    const { status, body: xml } = answerSoap(org, body, (token) => tokens.isValid(token));
    response.writeHead(status, { 'content-type': 'text/xml;charset=UTF-8' }).end(xml);
    return;
  }
  if (/^\/services\/data\/?$/.test(url.pathname)) {
    send(response, 200, versions());
    return;
  }
  const [, version, path] = /^\/services\/data\/v(\d+\.\d)\/(.*?)\/?$/.exec(url.pathname) ?? [];
  if (version === undefined || Number(version) < VERSIONS.oldest || Number(version) > VERSIONS.newest) {
    throw new SalesforceError('NOT_FOUND', 'The requested resource does not exist', 404);
  }
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
  if (!tokens.isValid(token))
    throw new SalesforceError('INVALID_SESSION_ID', 'Session expired or invalid', 401);
  traffic.count(countedPath(path ?? ''));
  const result = rest.answer({
    method: request.method ?? 'GET',
    path: path ?? '',
    version,
    parameters: url.searchParams,
    headers: request.headers,
    body: body === '' ? undefined : parseJson(body),
  });
  if (fault === 'drop_after') request.socket.destroy();
  else send(response, result.status, result.body, traffic);
}

/** Locators and ids left out. */
function countedPath(path: string): string {
  return path.replace(/\/(?:01g|00Q|003)[\w-]+$/, '');
}

function versions(): object[] {
  const count = VERSIONS.newest - VERSIONS.oldest + 1;
  return Array.from({ length: count }, (_, index) => {
    const version = `${VERSIONS.oldest + index}.0`;
    return { label: `Version ${version}`, url: `/services/data/v${version}`, version };
  });
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    throw new SalesforceError('JSON_PARSER_ERROR', 'Unexpected character in the HTTP entity body');
  }
}

function answerControl(parts: Parts, method: string, body: string, response: ServerResponse): void {
  try {
    send(response, 200, method === 'POST' ? control(parts, parseJson(body)) : overview(parts));
  } catch (error) {
    if (!(error instanceof ZodError || error instanceof SalesforceError)) throw error;
    send(response, 400, { error: error.message });
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function send(
  response: ServerResponse,
  status: number,
  body: unknown,
  traffic?: { readonly limitInfo: string },
): void {
  const headers = {
    ...(body === undefined ? {} : { 'content-type': 'application/json;charset=UTF-8' }),
    ...(traffic === undefined ? {} : { 'sforce-limit-info': traffic.limitInfo }),
  };
  response.writeHead(status, headers).end(body === undefined ? undefined : JSON.stringify(body));
}
