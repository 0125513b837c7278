import { generate } from 'selfsigned';

/** A key and a certificate for a host name and an address, made anew, in PEM. The certificate is its own authority. */
export async function selfSignedCertificate(
  host = 'localhost',
  address = '127.0.0.1',
): Promise<{ key: string; cert: string }> {
  const pems = await generate([{ name: 'commonName', value: host }], {
    keyType: 'ec',
    algorithm: 'sha256',
    extensions: [
      { name: 'basicConstraints', cA: true },
      {
        name: 'subjectAltName',
        altNames: [
          { type: 2, value: host },
          { type: 7, ip: address },
        ],
      },
    ],
  });
  return { key: pems.private, cert: pems.cert };
}
