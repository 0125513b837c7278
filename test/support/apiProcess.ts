import { freePort } from '../../tools/embedded/service.ts';
import { type HeedProcess, startProcess } from './childProcess.ts';
import { environmentOf, type ProcessSettings } from './workerProcess.ts';

/** The API as a real process. */
export interface ApiProcess extends HeedProcess {
  readonly url: string;
  /** Calls it with a key; the answer's body is JSON. */
  call(method: string, path: string, body?: object, headers?: Record<string, string>): Promise<Answer>;
}

export interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: what the tests look into
  readonly body: any;
}

/** Starts `api/main.ts` and waits until it answers. */
export async function startApiProcess(settings: ProcessSettings, key: string): Promise<ApiProcess> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const api = await startProcess(
    'api/main.ts',
    { ...environmentOf(settings), HEED_API_PORT: String(port) },
    async () => (await fetch(`${url}/healthz`)).ok,
  );
  return { ...api, url, call: caller(url, key) };
}

/** Calls an API at an address. */
export function caller(url: string, key: string): ApiProcess['call'] {
  return async (method, path, body, headers = {}) => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(30_000),
    });
    return { status: response.status, body: await response.json() };
  };
}
