import type { Wire } from './wire.ts';

/** Says QUIT (RFC 5321 section 4.1.1.10) and ends the connection after the reply, or soon without one. */
export async function quit(wire: Wire, milliseconds: number): Promise<void> {
  wire.write('QUIT\r\n');
  await wire.receive(milliseconds);
  wire.end('we said QUIT');
}
