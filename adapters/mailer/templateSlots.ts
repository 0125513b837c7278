import { type Liquid, type Output, type Template, TokenKind } from 'liquidjs';
import { UNSUBSCRIBE_FIELD } from '../../domain/email/mergeFields.ts';
import { createMemory } from './remembering.ts';
import { customKeysOf, engineOf, type MergeValues, scopeOf, type TemplatePart } from './render.ts';

/** What stands between the static texts of a template. */
export interface Slot {
  /** What it becomes for somebody, escaped where the part is HTML. Throws what rendering would. */
  render(values: MergeValues, unsubscribeUrl: string | null): string;
  readonly isUnsubscribeUrl: boolean;
}

/** A template as static texts with slots between them: one text more than slots. */
export interface SlottedTemplate {
  readonly texts: readonly string[];
  readonly slots: readonly Slot[];
}

/** Their result is another one at another time. */
const FILTERS_OF_TIME = /^date/;

/**
 * Takes a template apart into static texts and slots, so that rendering it for somebody is writing the slots.
 *
 * @returns `null` where it has tags (conditions, loops, assignments): then it is rendered as a whole
 */
export function slotsOf(part: TemplatePart, source: string): SlottedTemplate | null {
  const engine = engineOf(part);
  const texts: string[] = [''];
  const slots: Slot[] = [];
  for (const template of engine.parse(source)) {
    switch (template.token.kind) {
      case TokenKind.HTML:
        texts[texts.length - 1] += String(engine.renderSync([template], {}));
        break;
      case TokenKind.Output:
        slots.push(slotOf(engine, template as Output, part === 'html'));
        texts.push('');
        break;
      default:
        return null;
    }
  }
  return { texts, slots };
}

function slotOf(engine: Liquid, template: Output, escapes: boolean): Slot {
  const uses = Object.values(engine.analyzeSync([template], { partials: false }).globals).flat();
  const paths = uses.map((use) => use.toArray());
  // Those of the template have a name; the engine's own escaping is none of them.
  const filters = template.value.filters.filter(({ name }) => Object.hasOwn(engine.filters, name));
  const [path] = paths;
  if (path !== undefined && paths.length === 1 && filters.length === 0) {
    const isUnsubscribeUrl = path[0] === UNSUBSCRIBE_FIELD;
    return {
      isUnsubscribeUrl,
      render: (values, url) => {
        const value = isUnsubscribeUrl ? url : valueAt(values, path);
        const text = value === null || value === undefined ? '' : String(value).toWellFormed();
        return escapes ? escapeHtml(text) : text;
      },
    };
  }
  return { isUnsubscribeUrl: false, render: filtered(engine, [template], paths, filters) };
}

/** Through the engine, since filters have their rules; once for the same values. */
function filtered(
  engine: Liquid,
  templates: Template[],
  paths: readonly (readonly unknown[])[],
  filters: readonly { readonly name: string }[],
): Slot['render'] {
  const customKeys = customKeysOf(engine, templates);
  const render: Slot['render'] = (values, url) =>
    String(engine.renderSync(templates, scopeOf(values, customKeys, url))).toWellFormed();
  const isOfRecipient = paths.some((path) => path[0] === UNSUBSCRIBE_FIELD);
  if (isOfRecipient || filters.some(({ name }) => FILTERS_OF_TIME.test(name))) return render;
  // A text alone needs no marks of its type.
  const [ofText, ofOthers] = [createMemory<string, string>(), createMemory<string, string>()];
  const [path] = paths;
  return (values, url) => {
    const value = paths.length === 1 ? valueAt(values, path!) : undefined;
    const work = () => render(values, url);
    return typeof value === 'string'
      ? ofText(value, work)
      : ofOthers(JSON.stringify(paths.map((one) => valueAt(values, one) ?? null)), work);
  };
}

/** Value of `prospect.<field>` or `prospect.custom.<key>`. */
function valueAt(values: MergeValues, path: readonly unknown[]): unknown {
  const [, field, key] = path;
  if (typeof field !== 'string') return null;
  if (field !== 'custom') return values[field];
  const { custom } = values;
  return typeof key === 'string' && custom && Object.hasOwn(custom, key) ? custom[key] : null;
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&#34;',
  "'": '&#39;',
};

/** As the engine escapes. */
function escapeHtml(text: string): string {
  return /[&<>"']/.test(text) ? text.replace(/[&<>"']/g, (character) => ESCAPES[character]!) : text;
}
