import { describe, expect, it } from 'vitest';
import { mailExchangers } from '../../domain/mailExchangers.ts';

const mx = (priority: number, exchange: string) => ({ priority, exchange });
const never = () => 0;

describe('mailExchangers', () => {
  it.each([
    ['no record', [], { kind: 'implicit' }],
    ['a null MX', [mx(0, '')], { kind: 'null' }],
    ['a null MX of another preference', [mx(10, '.')], { kind: 'null' }],
    ['a null MX beside a host', [mx(0, '.'), mx(5, 'a.test')], { kind: 'hosts', hosts: ['a.test'] }],
    [
      'hosts out of order',
      [mx(30, 'c.test'), mx(5, 'a.test'), mx(20, 'b.test')],
      { kind: 'hosts', hosts: ['a.test', 'b.test', 'c.test'] },
    ],
    [
      'a host twice, in other letters and with the final dot',
      [mx(5, 'A.test.'), mx(9, 'a.TEST')],
      { kind: 'hosts', hosts: ['a.test'] },
    ],
    [
      'ourselves among them: only better ones count',
      [mx(5, 'a.test'), mx(7, 'OWN.test'), mx(7, 'b.test'), mx(9, 'c.test')],
      { kind: 'hosts', hosts: ['a.test'] },
    ],
    ['ourselves as the best', [mx(5, 'own.test'), mx(9, 'c.test')], { kind: 'none' }],
  ])('%s', (_, records, expected) => {
    expect(mailExchangers(records, ['own.test'], never)).toEqual(expected);
  });

  it('puts equals in every order, and never a worse one before a better', () => {
    const records = [mx(1, 'a'), mx(1, 'b'), mx(1, 'c'), mx(2, 'd')];
    const orders = new Set<string>();
    for (let count = 0; count < 300; count++) {
      const found = mailExchangers(records, [], Math.random);
      if (found.kind === 'hosts') orders.add(found.hosts.join(''));
    }
    expect([...orders].sort()).toEqual(['abcd', 'acbd', 'bacd', 'bcad', 'cabd', 'cbad']);
  });
});
