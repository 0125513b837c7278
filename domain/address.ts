import { getPublicSuffix } from 'tldts';
import { toASCII } from 'tr46';

/** An email address that mail can be sent to, in the forms that Heed needs. */
export interface ParsedAddress {
  /** Trimmed, the domain normalised, the local part as the person wrote it: what RCPT TO gets. */
  readonly given: string;
  /** As written, with its quotes where it has any. */
  readonly localPart: string;
  /** A-labels (IDNA), lower case, no trailing dot. */
  readonly domain: string;
  /**
   * Two addresses are one exactly when their comparison forms are equal: see {@link parseAddress}.
   * Never sent to anybody.
   */
  readonly comparisonForm: string;
  /** The local part has non-ASCII characters: the message needs SMTPUTF8 (RFC 6531) all the way. */
  readonly needsSmtpUtf8: boolean;
}

export type AddressProblemCode =
  | 'empty'
  | 'too_long'
  | 'no_at_sign'
  | 'forbidden_character'
  | 'local_part_empty'
  | 'local_part_too_long'
  | 'local_part_invalid'
  | 'address_literal'
  | 'domain_too_long'
  | 'domain_invalid'
  | 'domain_incomplete'
  | 'public_suffix';

/** Why a text is no address or domain. `message` is an English sentence for the person who entered it. */
export interface AddressProblem {
  readonly code: AddressProblemCode;
  readonly message: string;
}

/** Tells the two results of {@link parseAddress} and {@link parseDomain} apart. */
export function isAddressProblem(result: object): result is AddressProblem {
  return 'code' in result && 'message' in result;
}

/** RFC 5321 section 4.5.3.1.3: a path of 256 octets less its angle brackets. */
const MAX_ADDRESS_OCTETS = 254;
/** RFC 5321 section 4.5.3.1.1. */
const MAX_LOCAL_PART_OCTETS = 64;
/** RFC 1035 section 2.3.4 allows 255 octets on the wire, which are 253 characters when written with dots. */
const MAX_DOMAIN_OCTETS = 253;
const MAX_LABEL_OCTETS = 63;

/**
 * Characters that no address has for a good reason: controls, line and paragraph separators, lone surrogates and
 * invisible format characters. The two joiners stay: some scripts cannot be written without them.
 */
const FORBIDDEN = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]|(?![\u200C\u200D])\p{Cf}/u;
/** RFC 5322 section 3.2.3 atext, with RFC 6531 section 3.3 UTF8-non-ascii less the Unicode spaces. */
const ATEXT = "(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]|(?!\\p{Z})[^\\x00-\\x7F])";
const DOT_ATOM = new RegExp(`^${ATEXT}+(?:\\.${ATEXT}+)*$`, 'u');
const QUOTED = new RegExp(`^"((?:${ATEXT}|\\.)+)"$`, 'u');

const utf8 = new TextEncoder();
const octets = (text: string): number => utf8.encode(text).length;
const problem = (code: AddressProblemCode, message: string): AddressProblem => ({ code, message });

/**
 * Reads one bare email address (RFC 5321 section 4.1.2, RFC 6531 section 3.3): no display name, no angle brackets,
 * no address literal, no single-label domain.
 *
 * A quoted local part is accepted where the quotes only carry dots that stand oddly (`"a..b"@`, `"a."@`: some
 * Japanese mobile providers gave out such addresses). Quoted spaces, at signs, brackets and backslashes are refused:
 * almost always a slip, and many systems on the way mistake them for syntax.
 *
 * The comparison form is the local part in NFC, lower-cased without a locale (final sigma as sigma), without needless
 * quotes, then `@` and the domain in A-labels. Dots and plus-tags stay: only the receiving domain knows whether it
 * ignores them. RFC 5321 section 2.4 lets a domain tell `A@` from `a@`, but none that matters does, and taking both
 * for one person keeps an opt-out in force however it is typed.
 */
export function parseAddress(input: string): ParsedAddress | AddressProblem {
  const text = input.trim();
  if (text === '') return problem('empty', 'The address is empty.');
  if (octets(text) > 4 * MAX_ADDRESS_OCTETS) return tooLong();
  if (FORBIDDEN.test(text)) {
    return problem('forbidden_character', 'The address contains a control or invisible character.');
  }
  const at = text.lastIndexOf('@');
  if (at === -1) return problem('no_at_sign', 'The address has no @ sign.');
  const localPart = text.slice(0, at);
  const domain = normaliseDomain(text.slice(at + 1));
  const bareLocalPart = readLocalPart(localPart);
  if (typeof bareLocalPart !== 'string') return bareLocalPart;
  if (typeof domain !== 'string') return domain;
  const given = `${localPart}@${domain}`;
  if (octets(given) > MAX_ADDRESS_OCTETS) return tooLong();
  return {
    given,
    localPart,
    domain,
    comparisonForm: `${comparisonFormOfLocalPart(bareLocalPart)}@${domain}`,
    needsSmtpUtf8: !isAscii(localPart),
  };
}

function tooLong(): AddressProblem {
  return problem('too_long', `The address is longer than ${MAX_ADDRESS_OCTETS} octets.`);
}

/** The local part without its quotes. */
function readLocalPart(localPart: string): string | AddressProblem {
  if (localPart === '' || localPart === '""') {
    return problem('local_part_empty', 'There is nothing before the @ sign.');
  }
  if (octets(localPart) > MAX_LOCAL_PART_OCTETS) {
    return problem(
      'local_part_too_long',
      `The part before the @ sign is longer than ${MAX_LOCAL_PART_OCTETS} octets.`,
    );
  }
  if (DOT_ATOM.test(localPart)) return localPart;
  const quoted = QUOTED.exec(localPart)?.[1];
  if (quoted !== undefined) return quoted;
  return problem(
    'local_part_invalid',
    'The part before the @ sign has a character or a dot that may not stand there.',
  );
}

function comparisonFormOfLocalPart(bare: string): string {
  // Lower-casing picks the final or the medial sigma by what follows it, so both must become one.
  const folded = bare.normalize('NFC').toLowerCase().replaceAll('ς', 'σ').normalize('NFC');
  return DOT_ATOM.test(folded) ? folded : `"${folded}"`;
}

function isAscii(text: string): boolean {
  return /^[\x20-\x7E]*$/.test(text);
}

/**
 * UTS #46, non-transitional, STD3 rules. Hyphens in the third and fourth place are let pass: such domains exist and
 * receive mail.
 */
function normaliseDomain(input: string): string | AddressProblem {
  if (input === '') return problem('domain_incomplete', 'There is no domain after the @ sign.');
  if (input.startsWith('[')) {
    return problem('address_literal', 'An IP address in brackets is not accepted in place of a domain.');
  }
  const invalid = problem('domain_invalid', 'The domain is not a valid domain name.');
  // More than any valid name needs even in Unicode; keeps punycode's quadratic work small.
  if (input.length > 4 * MAX_DOMAIN_OCTETS) return domainTooLong();
  const ascii = toASCII(input, {
    checkBidi: true,
    checkJoiners: true,
    useSTD3ASCIIRules: true,
    transitionalProcessing: false,
  });
  if (ascii === null) return invalid;
  const domain = ascii.endsWith('.') ? ascii.slice(0, -1) : ascii;
  if (domain.length > MAX_DOMAIN_OCTETS) return domainTooLong();
  const labels = domain.split('.');
  for (const label of labels) {
    if (label === '' || label.startsWith('-') || label.endsWith('-')) return invalid;
    if (label.length > MAX_LABEL_OCTETS) {
      return problem(
        'domain_too_long',
        `A part of the domain is longer than ${MAX_LABEL_OCTETS} characters.`,
      );
    }
  }
  if (labels.length < 2) {
    return problem('domain_incomplete', 'The domain needs at least two parts, as in example.com.');
  }
  if (/^\d+$/.test(labels.at(-1)!)) {
    return problem('address_literal', 'An IP address is not accepted in place of a domain.');
  }
  return domain;
}

function domainTooLong(): AddressProblem {
  return problem('domain_too_long', `The domain is longer than ${MAX_DOMAIN_OCTETS} characters.`);
}

/**
 * Reads a domain that somebody wants suppressed with everything under it, into the form of {@link ParsedAddress}'s
 * `domain`. A public suffix (`co.uk`) is refused: it would silence everybody who has a name below it.
 */
export function parseDomain(input: string): { readonly domain: string } | AddressProblem {
  const text = input.trim();
  if (text === '') return problem('empty', 'The domain is empty.');
  if (FORBIDDEN.test(text)) {
    return problem('forbidden_character', 'The domain contains a control or invisible character.');
  }
  const domain = normaliseDomain(text);
  if (typeof domain !== 'string') return domain;
  if (getPublicSuffix(domain, { extractHostname: false, validateHostname: false }) === domain) {
    return problem('public_suffix', `${domain} is a public suffix: everybody can have a domain below it.`);
  }
  return { domain };
}

/**
 * The domain itself and every parent of at least two labels, nearest first: the keys under which a suppressed domain
 * that covers it can stand. Purely syntactic; `domain` is a normalised one.
 */
export function parentDomains(domain: string): string[] {
  const parents: string[] = [];
  const lastDot = domain.lastIndexOf('.');
  for (let from = 0; from <= lastDot; from = domain.indexOf('.', from) + 1) parents.push(domain.slice(from));
  return parents;
}

/** An at sign in the ways that reply texts write it: plain, full-width, percent- or quoted-printable-encoded. */
const AT = '(?:@|\\uFF20|\\uFE6B|%(?:25)*40|=40|[([{]at[)\\]}])';
const LAST_AT = new RegExp(`^.*${AT}`, 'isu');
/** What stands where a domain can: two labels or more. */
const DOMAIN = '(?:[\\p{L}\\p{N}-]+\\.)+[\\p{L}\\p{N}-]+';
// Both begin only where a word does, or are bounded: a hostile reply must not cost quadratic time.
const SPACED_AT = new RegExp(
  `(?<![^\\s<>,;:"])[^\\s<>,;:"]+(?:\\s+${AT}\\s*|\\s*${AT}\\s+)(?=${DOMAIN})`,
  'giu',
);
const QUOTED_LOCAL_PART = new RegExp(`(?:"(?:\\\\.|[^"\\\\]){0,200}"|\\\\"[^"]*\\\\")\\s*${AT}`, 'giu');
/** An address without its at sign, as VERP and source routes write it: `name=example.com`, `name%example.com`. */
const VERP = new RegExp(`^.*[^=%](=|%3D|%)(?=${DOMAIN})`, 'isu');
const AT_DOMAIN = new RegExp(`(${AT}\\s*${DOMAIN})`, 'iu');

/**
 * Replaces the local part of everything in a reply text that could be an email address by `…`, keeping the domain:
 * `<a+b@example.com>: unknown` becomes `<…@example.com>: unknown`. What is masked may be more than an address (a word
 * glued to it); no local part is left.
 *
 * `localPart`, where the recipient's is known, is masked also where it stands without a domain (`user jdoe unknown`),
 * in any letter case, with and without its plus-tag.
 */
export function maskAddresses(text: string, localPart?: string): string {
  const withoutOwn = localPart ? maskStandingAlone(text, localPart) : text;
  return withoutOwn
    .replace(/&#0*64;|&#x0*40;|&commat;/gi, '@')
    .replace(QUOTED_LOCAL_PART, '…@')
    .replace(SPACED_AT, '…@')
    .replace(/[^\s<>,;:"]+/gu, maskToken);
}

function maskToken(token: string): string {
  const opening = /^[([]*/.exec(token)![0];
  const rest = token.slice(opening.length);
  const at = LAST_AT.exec(rest);
  if (at) return `${opening}…@${rest.slice(at[0].length)}`;
  const verp = VERP.exec(rest);
  if (verp) return `${opening}…${verp[1]}${rest.slice(verp[0].length)}`;
  return token;
}

function maskStandingAlone(text: string, localPart: string): string {
  const bare = localPart.replace(/^"(.*)"$/s, '$1');
  const untagged = bare.split('+')[0]!;
  const forms = new Set([bare, untagged].flatMap((form) => [form.normalize('NFC'), form.normalize('NFD')]));
  forms.delete('');
  if (forms.size === 0) return text;
  const anyForm = [...forms].map(escapeForRegExp).join('|');
  const standingAlone = new RegExp(`(?<![\\p{L}\\p{N}])(?:${anyForm})(?![\\p{L}\\p{M}\\p{N}])`, 'giu');
  // The domain of an address stays, also where it is the same word: `smith@smith.example`.
  return text
    .split(AT_DOMAIN)
    .map((part, index) => (index % 2 === 1 ? part : part.replace(standingAlone, '…')))
    .join('');
}

function escapeForRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}
