import { createHash } from 'node:crypto';

/** The pages' own style: nothing is loaded from anywhere. Light and dark by the reader's setting. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --ground: #f3f5f8; --card: #ffffff; --line: #d5dbe3; --text: #18212c; --quiet: #4d5866;
  --accent: #0b5cad; --accent-text: #ffffff; --good: #e3f3e9; --good-line: #1a7340; --bad: #fdeceb; --bad-line: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #10141a; --card: #1a2029; --line: #3a4452; --text: #e8ecf2; --quiet: #aab4c1;
    --accent: #8fc2fa; --accent-text: #0a1a2b; --good: #16301f; --good-line: #74d19b; --bad: #3a1a18; --bad-line: #ff9c94;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: clamp(1rem, 6vh, 4rem) 1rem; background: var(--ground); color: var(--text);
  font: 1.0625rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere;
}
main {
  max-width: 36rem; margin: 0 auto; padding: clamp(1.25rem, 5vw, 2.5rem); background: var(--card);
  border: 1px solid var(--line); border-radius: 12px;
}
.sender { margin: 0 0 .25rem; color: var(--quiet); font-size: .9375rem; }
h1 { margin: 0 0 .75rem; font-size: 1.75rem; line-height: 1.25; text-wrap: balance; }
h2 { margin: 0 0 .5rem; font-size: 1.125rem; line-height: 1.35; }
p { margin: 0 0 1rem; }
section { margin-top: 1.5rem; padding-top: 1.5rem; border-top: 1px solid var(--line); }
section > :last-child, main > :last-child { margin-bottom: 0; }
.aside { margin-top: 1.5rem; color: var(--quiet); font-size: .9375rem; }
.notice { padding: .75rem 1rem; border-inline-start: 4px solid var(--good-line); border-radius: 4px; background: var(--good); }
.notice.bad { border-color: var(--bad-line); background: var(--bad); }
fieldset { margin: .5rem 0 1rem; padding: 0; border: 0; min-inline-size: 0; }
legend { padding: 0; margin-bottom: .25rem; color: var(--quiet); }
label { display: flex; gap: .75rem; align-items: flex-start; padding: .5rem 0; cursor: pointer; }
label input { flex: none; width: 1.375rem; height: 1.375rem; margin: .125rem 0 0; accent-color: var(--accent); }
label small { display: block; color: var(--quiet); font-size: .9375rem; }
ul { margin: 0 0 1rem; padding-inline-start: 1.25rem; }
button, .button {
  display: inline-block; min-height: 2.875rem; padding: .625rem 1.25rem; border: 2px solid var(--accent); border-radius: 8px;
  background: var(--accent); color: var(--accent-text); font: inherit; font-weight: 600; line-height: 1.4; text-align: center; text-wrap: balance;
  text-decoration: none; cursor: pointer;
}
button.second, .button { background: transparent; color: var(--accent); }
button:hover, .button:hover { text-decoration: underline; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px; border-radius: 4px; }
.actions { display: flex; flex-wrap: wrap; gap: .75rem; }
@media (max-width: 30rem) { button, .button { width: 100%; padding-inline: .5rem; } }
`;

/** The style as the Content-Security-Policy names it (CSP level 3, section 2.3.1). */
export const STYLE_SOURCE = `'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`;
