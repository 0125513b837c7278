import { ApiProblem } from './problems.ts';

/**
 * Takes a body in piece by piece, so that no more than one piece of it is in memory. What the caller says of the length
 * is not trusted: the bytes are counted.
 *
 * @param pieceBytes size of each piece but the last
 * @param maxBytes size of the whole at the most
 * @param keep is given each piece with its offset, one after the other
 * @throws ApiProblem where the body is too large or breaks off
 */
export async function takeInPieces(
  body: ReadableStream<Uint8Array> | null,
  pieceBytes: number,
  maxBytes: number,
  keep: (offset: number, piece: Uint8Array) => Promise<void>,
): Promise<void> {
  let [offset, filled] = [0, 0];
  const piece = new Uint8Array(pieceBytes);
  for await (const chunk of readable(body)) {
    if (offset + filled + chunk.length > maxBytes) throw tooLarge(maxBytes);
    for (let taken = 0; taken < chunk.length; ) {
      const part = chunk.subarray(taken, taken + pieceBytes - filled);
      piece.set(part, filled);
      filled += part.length;
      taken += part.length;
      if (filled < pieceBytes) continue;
      await keep(offset, piece);
      offset += filled;
      filled = 0;
    }
  }
  if (filled > 0) await keep(offset, piece.subarray(0, filled));
}

export function tooLarge(maxBytes: number): ApiProblem {
  return new ApiProblem('too-large', `The file is larger than ${maxBytes} bytes.`);
}

async function* readable(
  body: ReadableStream<Uint8Array> | null,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (body === null) return;
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(() => {
        throw new ApiProblem('invalid-request', 'The upload broke off; nothing of it was kept.');
      });
      if (done) return;
      yield value;
    }
  } finally {
    reader.releaseLock();
  }
}
