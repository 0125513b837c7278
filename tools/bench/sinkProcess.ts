/**
 * An SMTP server that takes everything and keeps nothing, to be sent to as fast as can be: `sinkProcess.ts`. Prints its
 * port. It offers PIPELINING and looks for no more than the commands' first letters and the end of the content.
 */

import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';

const END = Buffer.from('\r\n.\r\n');
const GREETING = '220 sink.test ESMTP\r\n';
const EHLO = '250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n';

const server = createServer((socket) => {
  socket.setNoDelay(true);
  socket.on('error', () => {});
  socket.write(GREETING);
  let rest: Buffer = Buffer.alloc(0);
  let inContent = false;
  socket.on('data', (chunk: Buffer) => {
    let data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let answer = '';
    for (;;) {
      if (inContent) {
        const end = data.indexOf(END);
        if (end === -1) {
          // The end may come in two pieces.
          data = data.subarray(Math.max(0, data.length - END.length + 1));
          break;
        }
        data = data.subarray(end + END.length);
        inContent = false;
        answer += '250 2.0.0 taken\r\n';
        continue;
      }
      const line = data.indexOf('\r\n');
      if (line === -1) break;
      switch (data[0]) {
        case 0x45: // EHLO
          answer += EHLO;
          break;
        case 0x44: // DATA
          answer += '354 go on\r\n';
          inContent = true;
          break;
        case 0x51: // QUIT
          answer += '221 2.0.0 bye\r\n';
          break;
        default:
          answer += '250 2.1.0 ok\r\n';
      }
      // The CRLF of DATA may be the first of an empty message's end.
      data = data.subarray(inContent ? line : line + 2);
      if (inContent && data.length > 2 && !data.subarray(0, END.length).equals(END)) data = data.subarray(2);
    }
    rest = data;
    if (answer !== '') socket.write(answer);
  });
});
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port));
