import { type Context, Hono } from 'hono';
import { languageDetector } from 'hono/language';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { Transaction } from '../../db/connection.ts';
import {
  type RecipientsWay,
  readSubscription,
  type Subscription,
  takeBack,
  unsubscribe,
  unsubscribeInOneStep,
} from '../../db/queries/unsubscribe.ts';
import { LANGUAGES, type Messages } from '../../domain/messages/index.ts';
import { allowedNo, allowedTakeBack, type Choice, isEmpty } from '../../domain/unsubscribing.ts';
import type { ApiDeps, ApiEnv } from '../context.ts';
import { isDatabaseUnavailable } from '../middleware/databaseTrouble.ts';
import { type ReadForm, readForm } from './form.ts';
import { loggedPath } from './loggedPath.ts';
import type { Language } from './page.ts';
import { STYLE_SOURCE } from './style.ts';
import {
  explanationPage,
  type Links,
  type Notice,
  preferencesPage,
  TAKE_BACK,
  takeBackPage,
} from './views.ts';

/*
 * The token in the path is the whole authority: there are no cookies and no session that another site could ride on, and
 * who knows the token needs no browser of somebody else. So there is no further CSRF token; nothing here reads a
 * cookie, and GET and HEAD never change anything, whatever a scanner follows.
 */

interface PublicEnv extends ApiEnv {
  Variables: ApiEnv['Variables'] & { language: string; reader: Language };
}

const HEADERS: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'content-security-policy': `default-src 'none'; style-src ${STYLE_SOURCE}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'x-robots-tag': 'noindex, nofollow',
  vary: 'Accept-Language',
};

/**
 * The pages on which recipients unsubscribe, for people and for their mail programs, without a key (RFC 8058). Mounted
 * under `PUBLIC_FOLDER`.
 *
 * A token that is none of ours, forged, cut off or signed by a key that is gone, always gets one page and status 404: a
 * 2xx would say that something was done.
 */
export function unsubscribePages(
  { db, tokens, log, now }: ApiDeps,
  languages: Readonly<Record<string, Messages>> = LANGUAGES,
): Hono<PublicEnv> {
  const pages = new Hono<PublicEnv>();
  const tags = Object.keys(languages);
  pages.use(
    languageDetector({
      order: ['header'],
      caches: false,
      supportedLanguages: tags,
      fallbackLanguage: tags[0]!,
    }),
    (c, next) => {
      const tag = c.get('language');
      c.set('reader', { tag, messages: languages[tag]! });
      return next();
    },
  );

  /** What every page is about: `null` where the link is none of ours. */
  const find = async (c: Context<PublicEnv>) => {
    const sendId = tokens.read('link', c.req.param('token') ?? '');
    const standing = sendId === null ? null : await readSubscription(db, sendId);
    return sendId === null || standing === null ? null : { sendId, standing };
  };
  const change = <R>(c: Context<PublicEnv>, way: RecipientsWay['way'], what: Change<R>) =>
    db.transaction((tx) => what(tx, { way, requestId: c.get('requestId') }, now()));

  /** Again and again 200, without a redirect (RFC 8058 section 3.2): whoever is unsubscribed already stays so. */
  const oneClick = async (c: Context<PublicEnv>) => {
    const sendId = tokens.read('link', c.req.param('token') ?? '');
    if (sendId === null) return invalid(c);
    const result = await change(c, 'one_click', (tx, by, at) => unsubscribeInOneStep(tx, by, at, sendId));
    if (result === 'unmatched') return invalid(c);
    return c.text(`${c.get('reader').messages.oneClick}\n`, 200, headersOf(c));
  };

  const open = (step: Step) => async (c: Context<PublicEnv>) => {
    const found = await find(c);
    return found === null ? invalid(c) : show(c, step.view, found.standing);
  };

  const carryOut = async (c: Context<PublicEnv>, step: Step, read: ReadForm) => {
    const found = await find(c);
    if (found === null) return invalid(c);
    const { sendId, standing } = found;
    if (!read.ok && read.why !== 'malformed') return unreadable(c, read.why);
    const asked = read.ok ? choiceOf(read.form) : null;
    if (asked === null) return show(c, step.view, standing, 'notUnderstood', 400);
    const choice = step.allowed(asked, standing);
    if (isEmpty(choice)) return show(c, step.view, standing, 'chooseOne', 400);
    await change(c, 'unsubscribe_link', (tx, by, at) => step.carryOut(tx, by, at, sendId, choice));
    return show(c, preferencesPage, (await readSubscription(db, sendId))!, step.done(choice));
  };

  pages.get('/:token', open(NO));
  pages.post('/:token', async (c) => {
    const read = await readForm(c.req.raw);
    return read.ok && isOneClick(read.form) ? oneClick(c) : carryOut(c, NO, read);
  });
  pages.get(`/:token/${TAKE_BACK}`, open(BACK));
  pages.post(`/:token/${TAKE_BACK}`, async (c) => carryOut(c, BACK, await readForm(c.req.raw)));

  const refuseMethod = (c: Context<PublicEnv>) => {
    const { trouble } = c.get('reader').messages;
    return explain(c, 405, trouble.heading, [trouble.method], { allow: 'GET, HEAD, POST' });
  };
  pages.all('/:token', refuseMethod);
  pages.all(`/:token/${TAKE_BACK}`, refuseMethod);
  pages.all('/*', invalid);

  pages.onError((error, c) => {
    log.error(
      { err: error, requestId: c.get('requestId') },
      `${c.req.method} ${loggedPath(c.req.path)} failed`,
    );
    const { trouble } = c.get('reader').messages;
    const status = isDatabaseUnavailable(error) ? 503 : 500;
    return explain(c, status, trouble.heading, [trouble.text], status === 503 ? { 'retry-after': '60' } : {});
  });
  return pages;
}

/** One of the two things that a page is for. */
interface Step {
  readonly view: typeof preferencesPage;
  readonly allowed: (asked: Choice, standing: Subscription) => Choice;
  readonly carryOut: typeof unsubscribe;
  readonly done: (choice: Choice) => Notice;
}

const NO: Step = {
  view: preferencesPage,
  allowed: allowedNo,
  carryOut: unsubscribe,
  done: (choice) => (choice.everything ? 'everything' : 'lists'),
};
const BACK: Step = {
  view: takeBackPage,
  allowed: allowedTakeBack,
  carryOut: takeBack,
  done: () => 'takenBack',
};

type Change<R> = (tx: Transaction, by: RecipientsWay, at: Date) => Promise<R>;

/** RFC 8058 section 3.1: exactly this pair; letter case is forgiven. */
function isOneClick(form: URLSearchParams | FormData): boolean {
  return [...form].some(
    ([name, value]) =>
      name.toLowerCase() === 'list-unsubscribe' && String(value).trim().toLowerCase() === 'one-click',
  );
}

/** What the page's own forms send; `null` for anything else. */
function choiceOf(form: URLSearchParams | FormData): Choice | null {
  const everything = form.get('everything') === 'yes';
  const listIds = form.getAll('list').filter((id) => typeof id === 'string');
  const foreign = [...form.keys()].some((name) => name !== 'everything' && name !== 'list');
  return foreign ? null : { everything, listIds };
}

function headersOf(c: Context<PublicEnv>): Record<string, string> {
  return { ...HEADERS, 'content-language': c.get('reader').tag };
}

function show(
  c: Context<PublicEnv>,
  view: typeof preferencesPage,
  standing: Subscription,
  notice: Notice | null = null,
  status: ContentfulStatusCode = 200,
): Response {
  // Relative, so that a proxy may put the pages anywhere. The token was found to be good: letters and digits.
  const up = c.req.path.endsWith(`/${TAKE_BACK}`) ? '../' : '';
  const preferences = `${up}${c.req.param('token')}`;
  const links: Links = { preferences, takeBack: `${preferences}/${TAKE_BACK}` };
  return c.html(view(c.get('reader'), standing, links, notice), status, headersOf(c));
}

function explain(
  c: Context<PublicEnv>,
  status: ContentfulStatusCode,
  heading: string,
  paragraphs: readonly string[],
  headers: Record<string, string> = {},
): Response {
  return c.html(explanationPage(c.get('reader'), heading, paragraphs), status, {
    ...headersOf(c),
    ...headers,
  });
}

function invalid(c: Context<PublicEnv>): Response {
  const { heading, text, help } = c.get('reader').messages.invalid;
  return explain(c, 404, heading, [text, help]);
}

function unreadable(c: Context<PublicEnv>, why: 'too_large' | 'too_slow'): Response {
  const { trouble } = c.get('reader').messages;
  // The rest of the body is not waited for.
  return explain(c, why === 'too_large' ? 413 : 408, trouble.heading, [trouble.unreadable], {
    connection: 'close',
  });
}
