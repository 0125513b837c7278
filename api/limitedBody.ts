/**
 * Reads a body that anybody may send: no longer than so many bytes, and no slower than so many milliseconds, whatever the
 * sender says of its length.
 */
export async function readLimitedBody(
  body: ReadableStream<Uint8Array> | null,
  limits: { readonly bytes: number; readonly milliseconds: number },
): Promise<Uint8Array<ArrayBuffer> | 'too_large' | 'too_slow'> {
  if (body === null) return new Uint8Array();
  const reader = body.getReader();
  const chunks: Uint8Array[] = [];
  let length = 0;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), limits.milliseconds);
  });
  try {
    for (;;) {
      const read = await Promise.race([reader.read(), late]);
      if (read === 'late') return 'too_slow';
      if (read.done) return new Uint8Array(Buffer.concat(chunks));
      length += read.value.length;
      if (length > limits.bytes) return 'too_large';
      chunks.push(read.value);
    }
  } finally {
    clearTimeout(timer);
    // Of a body that was read to its end this does nothing.
    reader.cancel().catch(() => {});
  }
}
