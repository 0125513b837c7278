import { convert } from 'html-to-text';
import { Liquid, LiquidError, type Template } from 'liquidjs';
import {
  isKnownMergeField,
  isUnsubscribeField,
  STANDARD_MERGE_FIELDS,
  UNSUBSCRIBE_FIELD,
} from '../../domain/email/mergeFields.ts';
import type { EmailKind } from '../../domain/words.ts';
import { withHtmlLink, withTextLink } from './unsubscribeFooter.ts';

/** The parts of an email that may hold merge fields, as Liquid templates. */
export interface EmailTemplates {
  readonly subject: string;
  readonly fromName: string | null;
  readonly html: string | null;
  readonly text: string | null;
}

export type TemplatePart = keyof EmailTemplates;

/** Where a template is wrong; `line` and `column` count from 1. */
export interface TemplateProblem {
  readonly field: TemplatePart;
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** A prospect's fields by their merge field names, and its custom fields by key. */
export interface MergeValues {
  readonly [field: string]: unknown;
  readonly custom?: Readonly<Record<string, unknown>>;
}

/** The parts for one prospect; there is always a text. */
export interface RenderedEmail {
  /** One line, fit for a header. */
  readonly subject: string;
  /** One line, fit for a header; `null` where nothing is left. */
  readonly fromName: string | null;
  readonly html: string | null;
  readonly text: string;
}

export type Rendered =
  | { readonly ok: true; readonly email: RenderedEmail }
  | { readonly ok: false; readonly problem: TemplateProblem };

const PARTS: readonly TemplatePart[] = ['subject', 'fromName', 'html', 'text'];
/** Those in which a link can be followed. */
const PARTS_WITH_LINK: readonly TemplatePart[] = ['html', 'text'];

/** Characters of one template; a long newsletter has a tenth. Mail programs cut messages far below. */
const PARSE_LIMIT = 1_000_000;
/** Milliseconds of one rendering; an honest one takes less than ten. */
const RENDER_LIMIT_MS = 500;
/** What liquidjs counts as memory, about bytes. */
const MEMORY_LIMIT = 10_000_000;
export const LONGEST_SUBJECT = 250;
export const LONGEST_NAME = 100;

/** Reach other templates, which there are none of, and would look for them in the file system. */
const TAGS_OF_FILES = ['include', 'render', 'layout', 'block'];

function createEngine(escapesHtml: boolean): Liquid {
  const engine = new Liquid({
    ...(escapesHtml && { outputEscape: 'escape' as const }),
    templates: {},
    strictFilters: true,
    strictVariables: true,
    // So that `| default:` works with a field that is not there.
    lenientIf: true,
    ownPropertyOnly: true,
    parseLimit: PARSE_LIMIT,
    renderLimit: RENDER_LIMIT_MS,
    memoryLimit: MEMORY_LIMIT,
    locale: 'en',
    timezoneOffset: 0,
  });
  for (const tag of TAGS_OF_FILES) delete engine.tags[tag];
  if (escapesHtml) {
    // Nothing gets around the escaping; escaping by hand, out of habit, does not do it twice.
    delete engine.filters.raw;
    engine.registerFilter('escape', (value: unknown) => value);
    engine.registerFilter('escape_once', (value: unknown) => value);
  }
  return engine;
}

const htmlEngine = createEngine(true);
const plainEngine = createEngine(false);
/** Values are escaped in the HTML and nowhere else. */
export const engineOf = (part: TemplatePart) => (part === 'html' ? htmlEngine : plainEngine);

/**
 * Looks for everything that would keep these templates from being rendered: syntax, unknown filters and tags, merge
 * fields that are neither known nor given a default, and too much work.
 *
 * @param customKeys keys of the custom fields that the account has defined
 * @param kind only marketing email has an unsubscribe link
 * @returns every problem found; none where the email is good to send
 */
export function validateTemplates(
  templates: EmailTemplates,
  customKeys: readonly string[],
  kind: EmailKind = 'marketing',
): TemplateProblem[] {
  return PARTS.flatMap((part) => {
    const source = templates[part];
    return source === null ? [] : validatePart(part, source, customKeys, kind);
  });
}

function validatePart(
  part: TemplatePart,
  source: string,
  customKeys: readonly string[],
  kind: EmailKind,
): TemplateProblem[] {
  const engine = engineOf(part);
  const hasLink = kind === 'marketing' && PARTS_WITH_LINK.includes(part);
  const isKnown = (path: readonly unknown[]) =>
    (hasLink && isUnsubscribeField(path)) || isKnownMergeField(path, customKeys);
  try {
    const parsed = engine.parse(source);
    const unknown = unknownMergeFields(engine, parsed, source, isKnown);
    if (unknown.length > 0) return unknown.map((problem) => ({ field: part, ...problem }));
    engine.renderSync(parsed, scopeOf({}, customKeys, hasLink ? 'https://' : null));
    return [];
  } catch (error) {
    return [problemOf(part, error)];
  }
}

function unknownMergeFields(
  engine: Liquid,
  parsed: Template[],
  source: string,
  isKnown: (path: readonly unknown[]) => boolean,
): Omit<TemplateProblem, 'field'>[] {
  const lines = source.split('\n');
  const uses = Object.values(engine.analyzeSync(parsed, { partials: false }).globals).flat();
  return uses
    .filter((use) => !isKnown(use.toArray()))
    .map((use) => ({
      line: use.location.row,
      column: use.location.col,
      message: `Unknown merge field ${use}.`,
    }))
    .filter(({ line, column }) => {
      const fromHere = [lines[line - 1]!.slice(column - 1), ...lines.slice(line)].join('\n');
      return !/^[^{}|]*\|\s*default\s*:/.test(fromHere);
    })
    .toSorted((a, b) => a.line - b.line || a.column - b.column);
}

/** Faults of the template itself; what others say may quote a prospect's values. */
const TELLING = ['TokenizationError', 'ParseError', 'UndefinedVariableError', 'AssertionError'];

function problemOf(field: TemplatePart, error: unknown): TemplateProblem {
  if (!(error instanceof Error)) throw error;
  const [line, column] = positionOf(error);
  const cause = LiquidError.is(error) && error.name === 'RenderError' ? error.originalError : error;
  const told = cause !== undefined && TELLING.includes(cause.name);
  // The library adds the position and the source to the message.
  const message = error.message.replace(/,?\s*(?:file:[^,]*,\s*)?line:\d+, col:\d+.*$/s, '');
  return {
    field,
    line,
    column,
    message: told ? `${message.charAt(0).toUpperCase()}${message.slice(1)}.` : 'This cannot be rendered.',
  };
}

/** Counted from 1; the beginning where the error is of the whole template. */
function positionOf(error: Error): [number, number] {
  const token: { getPosition?: () => number[] } = LiquidError.is(error) ? error.token : {};
  const [line = 1, column = 1] = token.getPosition?.() ?? [];
  return [line, column];
}

/** Keys of the custom fields that a template names. */
export function customKeysOf(engine: Liquid, parsed: Template[]): string[] {
  const uses = Object.values(engine.analyzeSync(parsed, { partials: false }).globals).flat();
  return uses.flatMap((use) => {
    const [root, field, key] = use.toArray();
    return root === 'prospect' && field === 'custom' && typeof key === 'string' ? [key] : [];
  });
}

/**
 * What a template sees. Every field that it names is there: one that this prospect has no value for is empty, and
 * whether a custom field exists was asked when the email was saved.
 */
export function scopeOf(
  values: MergeValues,
  customKeys: readonly string[],
  unsubscribeUrl: string | null,
): object {
  const fields = Object.fromEntries(STANDARD_MERGE_FIELDS.map((name) => [name, values[name] ?? null]));
  const empty = Object.fromEntries(customKeys.map((key) => [key, null]));
  return {
    prospect: { ...fields, custom: { ...empty, ...values.custom } },
    ...(unsubscribeUrl !== null && { [UNSUBSCRIBE_FIELD]: unsubscribeUrl }),
  };
}

/** Templates that were parsed once, to be rendered for many prospects. */
export interface ParsedEmail {
  /** @param unsubscribeUrl the link that HTML and text then have, by themselves or below; `null` for none */
  render(values: MergeValues, unsubscribeUrl?: string | null): Rendered;
}

/**
 * Parses an email's templates. What is wrong with them is told by `render`, as it would be found there.
 *
 * Values are escaped in the HTML and nowhere else; the subject and the sender's name become one line without control
 * characters. Where there is no text it is made from the rendered HTML.
 */
export function parseEmail(templates: EmailTemplates): ParsedEmail {
  const parsed: [TemplatePart, Template[]][] = [];
  const customKeys: string[] = [];
  for (const part of PARTS) {
    const source = templates[part];
    if (source === null) continue;
    try {
      const template = engineOf(part).parse(source);
      customKeys.push(...customKeysOf(engineOf(part), template));
      parsed.push([part, template]);
    } catch (error) {
      const problem = problemOf(part, error);
      return { render: () => ({ ok: false, problem }) };
    }
  }
  return {
    render: (values, unsubscribeUrl = null) =>
      renderParts(parsed, scopeOf(values, customKeys, unsubscribeUrl), unsubscribeUrl),
  };
}

function renderParts(
  parsed: readonly [TemplatePart, Template[]][],
  scope: object,
  unsubscribeUrl: string | null,
): Rendered {
  const rendered: Partial<Record<TemplatePart, string>> = {};
  for (const [part, template] of parsed) {
    try {
      rendered[part] = String(engineOf(part).renderSync(template, scope)).toWellFormed();
    } catch (error) {
      return { ok: false, problem: problemOf(part, error) };
    }
  }
  const written = rendered.html ?? null;
  const html = written === null || unsubscribeUrl === null ? written : withHtmlLink(written, unsubscribeUrl);
  const text = rendered.text ?? (html === null ? '' : textOf(html));
  return {
    ok: true,
    email: {
      subject: headerLine(rendered.subject ?? '', LONGEST_SUBJECT),
      fromName: headerLine(rendered.fromName ?? '', LONGEST_NAME) || null,
      html,
      text: unsubscribeUrl === null ? text : withTextLink(text, unsubscribeUrl),
    },
  };
}

/** One line without control characters, cut at whole characters: nothing in it can begin another header. */
export function headerLine(value: string, longest: number): string {
  const line = value
    .toWellFormed()
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\s]+/gu, ' ')
    .trim();
  return line.length <= longest ? line : [...line].slice(0, longest).join('').trimEnd();
}

/** The text alternative of an HTML part: links with their addresses, no images. */
export function textOf(html: string): string {
  return convert(html, {
    wordwrap: 78,
    selectors: [
      { selector: 'a', options: { hideLinkHrefIfSameAsText: true } },
      { selector: 'img', format: 'skip' },
    ],
  });
}
