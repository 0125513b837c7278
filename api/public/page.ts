import type { Messages } from '../../domain/messages/index.ts';
import { html, Markup } from '../reference/html.ts';
import { STYLE } from './style.ts';

/** A language with the tag that names it. */
export interface Language {
  readonly tag: string;
  readonly messages: Messages;
}

/** A whole page. Whatever is put into it is escaped; nothing in it comes from the request. */
export function page(
  { tag, messages }: Language,
  content: {
    readonly heading: string;
    readonly senderDomain?: string | undefined;
    readonly body: readonly Markup[];
  },
): string {
  const { heading, senderDomain, body } = content;
  return html`<!doctype html>
<html lang="${tag}" dir="${messages.direction}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex, nofollow">
<title>${heading}${senderDomain === undefined ? null : ` – ${senderDomain}`}</title>
<style>${new Markup(STYLE)}</style>
</head>
<body>
<main>
${senderDomain === undefined ? null : html`<p class="sender"><bdi>${senderDomain}</bdi></p>`}
<h1>${heading}</h1>
${body}
</main>
</body>
</html>
`.text;
}
