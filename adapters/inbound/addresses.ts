/** Whom Heed takes mail for, and what the addresses say. Never throws, whatever it is asked. */
export interface AcceptedAddresses {
  /** The send of a signed return path (VERP); `null` where it is none of ours. */
  sendOfReturnAddress(address: string): string | null;
  /** Whether this is the unsubscribe mailbox, with or without a token behind a plus. */
  isUnsubscribeAddress(address: string): boolean;
  /** The send of a token of unsubscribing by mail; `null` where it is none of ours. */
  sendOfUnsubscribeToken(token: string): string | null;
  /** Whether this is the address that complaints come to. */
  isAbuseAddress(address: string): boolean;
}

/** @param parts.sendOfReturnAddress `null` where no return domain is configured */
export function createAcceptedAddresses(parts: {
  readonly sendOfReturnAddress: ((address: string) => string | null) | null;
  readonly sendOfUnsubscribeToken: (token: string) => string | null;
  readonly unsubscribeMailbox: string | null;
  readonly abuseMailbox: string | null;
}): AcceptedAddresses {
  const unsubscribe = parts.unsubscribeMailbox && split(parts.unsubscribeMailbox);
  return {
    sendOfReturnAddress: parts.sendOfReturnAddress ?? (() => null),
    sendOfUnsubscribeToken: parts.sendOfUnsubscribeToken,
    isUnsubscribeAddress(address) {
      const given = split(address);
      if (!unsubscribe || given === null || given.domain !== unsubscribe.domain) return false;
      return given.local === unsubscribe.local || given.local.startsWith(`${unsubscribe.local}+`);
    },
    isAbuseAddress: (address) =>
      parts.abuseMailbox !== null && address.toLowerCase() === parts.abuseMailbox.toLowerCase(),
  };
}

/** In lower case: these addresses are ours, so we decide that case does not matter. */
function split(address: string): { local: string; domain: string } | null {
  const at = address.lastIndexOf('@');
  if (at < 1) return null;
  return { local: address.slice(0, at).toLowerCase(), domain: address.slice(at + 1).toLowerCase() };
}
