import { DEFAULT_MESSAGES } from '../../domain/messages/index.ts';

const { footer } = DEFAULT_MESSAGES;

/** The HTML with a link to `url` that a reader can follow: as it is where it has one, else with a plain one below. */
export function withHtmlLink(html: string, url: string): string {
  const address = escapeHtml(url);
  if (linksTo(withoutComments(html), address)) return html;
  const line =
    '<p style="margin:24px 0 0;font-size:12px;line-height:1.5;text-align:center">' +
    `<a href="${address}">${escapeHtml(footer.link)}</a></p>\n`;
  const end = [/<\/body\b/gi, /<\/html\b/gi]
    .map((tag) => [...html.matchAll(tag)].at(-1)?.index)
    .find((at) => at !== undefined);
  return end === undefined ? `${html}\n${line}` : html.slice(0, end) + line + html.slice(end);
}

/** The text with `url` in it: as it is where it has it, else with a line below. */
export function withTextLink(text: string, url: string): string {
  return text.includes(url) ? text : `${text.trimEnd()}\n\n${footer.text} ${url}\n`;
}

function linksTo(html: string, address: string): boolean {
  for (let at = html.indexOf(address); at >= 0; at = html.indexOf(address, at + 1)) {
    const tag = html.slice(Math.max(0, html.lastIndexOf('<', at)), at);
    if (/^<a\s[^>]*\bhref\s*=\s*["']?\s*$/i.test(tag)) return true;
  }
  return false;
}

/** Nobody can follow a link inside a comment. */
function withoutComments(html: string): string {
  const [first, ...rest] = html.split('<!--');
  return [
    first,
    ...rest.map((part) => (part.includes('-->') ? part.slice(part.indexOf('-->') + 3) : '')),
  ].join('');
}

function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
