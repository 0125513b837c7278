import type { Subscription } from '../../db/queries/unsubscribe.ts';
import type { Messages } from '../../domain/messages/index.ts';
import { type ListStanding, offerTo } from '../../domain/unsubscribing.ts';
import { html, type Markup } from '../reference/html.ts';
import { type Language, page } from './page.ts';

/** What has just been done, or why nothing was. */
export type Notice = keyof Messages['done'];

const REFUSED: readonly Notice[] = ['chooseOne', 'notUnderstood'];
/** Path of the second step, below the link. */
export const TAKE_BACK = 'take-back';

/** Addresses of the two pages, as the forms name them. */
export interface Links {
  readonly preferences: string;
  readonly takeBack: string;
}

/** What somebody who follows the link sees first: unsubscribe, or that it is done. */
export function preferencesPage(
  language: Language,
  standing: Subscription,
  links: Links,
  notice: Notice | null = null,
): string {
  const { messages } = language;
  const offer = offerTo(standing);
  const said = offer.everything ? messages.choose : messages.unsubscribed;
  return page(language, {
    heading: said.heading,
    senderDomain: standing.senderDomain,
    body: [
      ...noticeOf(messages, notice),
      ...(offer.everything
        ? choices(messages, standing, links.preferences)
        : [
            html`<p>${standing.transactionalGoesOn ? messages.unsubscribed.everythingMarketing : messages.unsubscribed.everything}</p>`,
            ...(offer.confirm ? [confirmation(messages, links.preferences)] : []),
          ]),
      ...wayBack(messages, offer.takeBack, links.takeBack),
      ...otherReason(messages, standing),
    ],
  });
}

function choices(messages: Messages, standing: Subscription, action: string): Markup[] {
  const { choose } = messages;
  const { lists } = offerTo(standing);
  return [
    html`<p>${choose.intro}</p>
<section aria-labelledby="everything">
<h2 id="everything">${choose.everything}</h2>
<p>${standing.transactionalGoesOn ? choose.everythingHintMarketing : choose.everythingHint}</p>
<form method="post" action="${action}">
<input type="hidden" name="everything" value="yes">
<button>${choose.everythingButton}</button>
</form>
</section>`,
    ...(lists.length === 0
      ? []
      : [
          html`<section aria-labelledby="lists">
<h2 id="lists">${choose.lists}</h2>
<form method="post" action="${action}">
<fieldset>
<legend>${choose.listsLegend}</legend>
${lists.map((list) => checkbox(list, list.sentTo, list.sentTo ? choose.sentTo : null))}
</fieldset>
<button class="second">${choose.listsButton}</button>
</form>
</section>`,
        ]),
  ];
}

/** Somebody else said no for the person: their own word would stay where that is taken back. */
function confirmation({ unsubscribed }: Messages, action: string): Markup {
  return html`<section aria-labelledby="confirm">
<h2 id="confirm">${unsubscribed.confirm}</h2>
<p>${unsubscribed.confirmHint}</p>
<form method="post" action="${action}">
<input type="hidden" name="everything" value="yes">
<button>${unsubscribed.confirmButton}</button>
</form>
</section>`;
}

function wayBack(
  messages: Messages,
  takeBack: { readonly everything: boolean; readonly lists: readonly ListStanding[] },
  href: string,
): Markup[] {
  const { unsubscribed } = messages;
  if (!takeBack.everything && takeBack.lists.length === 0) return [];
  return [
    html`<section aria-labelledby="back">
<h2 id="back">${takeBack.everything ? unsubscribed.mistake : unsubscribed.lists}</h2>
${takeBack.everything ? null : html`<ul>${takeBack.lists.map((list) => html`<li><bdi>${list.name}</bdi></li>`)}</ul>`}
<p><a class="button" href="${href}">${unsubscribed.takeBackLink}</a></p>
</section>`,
  ];
}

/** The second step before an opt-out is taken back: opening it changes nothing either. */
export function takeBackPage(
  language: Language,
  standing: Subscription,
  links: Links,
  notice: Notice | null = null,
): string {
  const { messages } = language;
  const said = messages.takeBack;
  const { takeBack } = offerTo(standing);
  const body = () => {
    if (!takeBack.everything && takeBack.lists.length === 0) {
      return html`<p>${said.nothing}</p>
<p><a class="button" href="${links.preferences}">${said.toPreferences}</a></p>`;
    }
    return html`<p>${takeBack.everything ? said.everything : said.lists}</p>
<form method="post" action="${links.takeBack}">
${
  takeBack.everything
    ? html`<input type="hidden" name="everything" value="yes">`
    : html`<fieldset>
<legend>${said.legend}</legend>
${takeBack.lists.map((list) => checkbox(list, takeBack.lists.length === 1, null))}
</fieldset>`
}
<div class="actions">
<button>${said.button}</button>
<a class="button" href="${links.preferences}">${said.cancel}</a>
</div>
</form>`;
  };
  return page(language, {
    heading: said.heading,
    senderDomain: standing.senderDomain,
    body: [...noticeOf(messages, notice), body(), ...otherReason(messages, standing)],
  });
}

/** A page that tells why nothing was done. */
export function explanationPage(language: Language, heading: string, paragraphs: readonly string[]): string {
  return page(language, { heading, body: paragraphs.map((paragraph) => html`<p>${paragraph}</p>`) });
}

function checkbox(list: ListStanding, checked: boolean, hint: string | null): Markup {
  return html`<label><input type="checkbox" name="list" value="${list.id}"${checked ? html` checked` : null}>
<span><bdi>${list.name}</bdi>${hint === null ? null : html` <small>${hint}</small>`}</span></label>
`;
}

function noticeOf(messages: Messages, notice: Notice | null): Markup[] {
  if (notice === null) return [];
  return REFUSED.includes(notice)
    ? [html`<p class="notice bad" role="alert">${messages.done[notice]}</p>`]
    : [html`<p class="notice" role="status">${messages.done[notice]}</p>`];
}

function otherReason(messages: Messages, standing: Subscription): Markup[] {
  return standing.otherwiseSuppressed ? [html`<p class="aside">${messages.otherReason}</p>`] : [];
}
