import { html, raw } from 'hono/html';

type Html = ReturnType<typeof html>;

/** A whole page of the simulator, without JavaScript. */
export function page(title: string, body: Html): Html {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta http-equiv="content-security-policy" content="default-src 'none'; style-src 'unsafe-inline'; form-action 'self'" />
        <title>${title} – Heed mailbox simulator</title>
        <style>
          ${raw(style)}
        </style>
      </head>
      <body>
        <header>
          <strong>Heed mailbox simulator</strong>
          <nav aria-label="Pages"><a href="/">Inbox</a> <a href="/behaviours">Behaviours</a></nav>
        </header>
        <main>${body}</main>
      </body>
    </html>`;
}

const style = `
:root { color-scheme: light dark; --line: light-dark(#d8dde4, #3a424d); --soft: light-dark(#f4f6f8, #1d2329);
  --link: light-dark(#0b57a4, #7db8f5); }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; background: light-dark(#fff, #14181c);
  color: light-dark(#1b2128, #e4e8ec); }
header { display: flex; gap: 2rem; padding: .75rem 1.5rem; background: var(--soft); border-bottom: 1px solid var(--line); }
nav a { margin-right: 1rem; }
main { max-width: 72rem; margin: 0 auto; padding: 1rem 1.5rem 4rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin-top: 2rem; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .75rem .45rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
thead th { font-weight: 600; }
tbody th { font-weight: 500; white-space: nowrap; }
pre { padding: 1rem; background: var(--soft); border: 1px solid var(--line); border-radius: .4rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
form { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: 1rem 0; }
input, button { font: inherit; padding: .35rem .7rem; border: 1px solid var(--line); border-radius: .4rem;
  background: transparent; color: inherit; }
input { min-width: 20rem; max-width: 100%; }
button { background: var(--soft); cursor: pointer; }
.empty { padding: 2rem; text-align: center; background: var(--soft); border-radius: .4rem; }
`;
