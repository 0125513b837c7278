import DNS, { Packet } from 'dns2';
import { freePort } from '../../tools/embedded/service.ts';

/** What a name holds. A name without an entry does not exist (NXDOMAIN). */
export interface Records {
  readonly MX?: readonly (readonly [priority: number, exchange: string])[];
  readonly A?: readonly string[];
  readonly AAAA?: readonly string[];
  /** Each may be longer than 255 octets; it is cut into strings as DNS needs it. */
  readonly TXT?: readonly string[];
  readonly PTR?: readonly string[];
  readonly CNAME?: string;
  /** Seconds; 300 when left out. */
  readonly ttl?: number;
  /** Every question about the name ends so. */
  readonly fails?: 'SERVFAIL' | 'REFUSED' | 'NXDOMAIN' | 'silence';
  /** Types that are denied with NXDOMAIN though the name exists, as some name servers do. */
  readonly deniedTypes?: readonly string[];
}

export type Zone = Record<string, Records>;

/** A DNS server on loopback, written by others (dns2), that answers like a recursive one. */
export interface DnsServer {
  /** `address:port`, as node:dns takes it. */
  readonly address: string;
  /** Names in lower case, changed as the test likes. */
  readonly zone: Zone;
  /** How often each question was asked, by `TYPE name`. */
  readonly asked: Map<string, number>;
  stop(): Promise<void>;
}

const TYPES = Object.entries(Packet.TYPE);
/** RFC 1035 section 3.3: the longest character-string. */
const LONGEST_STRING = 255;

export async function startDnsServer(zone: Zone): Promise<DnsServer> {
  const asked = new Map<string, number>();
  const server = DNS.createServer({
    udp: true,
    tcp: true,
    handle(request, send) {
      const [question] = request.questions;
      const response = Packet.createResponseFromRequest(request);
      response.header.ra = 1;
      const type = TYPES.find(([, number]) => number === question!.type)?.[0] ?? '';
      const name = question!.name.toLowerCase();
      asked.set(`${type} ${name}`, (asked.get(`${type} ${name}`) ?? 0) + 1);
      let at = name;
      for (let hops = 0; zone[at]?.CNAME !== undefined && hops < 8; hops++) {
        response.answers.push(resource(at, 'CNAME', 300, { domain: zone[at]!.CNAME! }));
        at = zone[at]!.CNAME!;
      }
      const records = zone[at];
      if (records?.fails === 'silence') return;
      if (records?.fails !== undefined) response.header.rcode = Packet.RCODE[records.fails];
      else if (records === undefined || records.deniedTypes?.includes(type))
        response.header.rcode = Packet.RCODE.NXDOMAIN;
      else response.answers.push(...answersOf(at, type, records));
      send(response);
    },
  });
  const port = await freePort();
  const at = { port, address: '127.0.0.1' };
  await server.listen({ udp: at, tcp: at });
  return {
    address: `127.0.0.1:${port}`,
    zone,
    asked,
    async stop() {
      await server.close();
    },
  };
}

function answersOf(name: string, type: string, records: Records) {
  const ttl = records.ttl ?? 300;
  switch (type) {
    case 'MX':
      return (records.MX ?? []).map(([priority, exchange]) =>
        resource(name, 'MX', ttl, { priority, exchange }),
      );
    case 'A':
      return (records.A ?? []).map((address) => resource(name, 'A', ttl, { address }));
    case 'AAAA':
      return (records.AAAA ?? []).map((address) => resource(name, 'AAAA', ttl, { address }));
    case 'PTR':
      return (records.PTR ?? []).map((domain) => resource(name, 'PTR', ttl, { domain }));
    case 'TXT':
      return (records.TXT ?? []).map((text) => {
        const strings = text.match(new RegExp(`.{1,${LONGEST_STRING}}`, 'gs')) ?? [''];
        return resource(name, 'TXT', ttl, { data: strings });
      });
    default:
      return [];
  }
}

function resource(name: string, type: keyof typeof Packet.TYPE, ttl: number, data: Record<string, unknown>) {
  return { name, type: Packet.TYPE[type], class: Packet.CLASS.IN, ttl, ...data } as never;
}
