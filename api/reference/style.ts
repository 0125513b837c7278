/** The page's own style: light and dark by the reader's setting, one column on a telephone. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --ground: #ffffff; --raised: #f6f7f9; --line: #dfe3e8; --text: #1b2430; --quiet: #55606e; --accent: #0b5cad;
  --get: #0b5cad; --post: #1a7340; --patch: #8a5300; --delete: #b3261e; --code: #f1f3f6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12161c; --raised: #1a2028; --line: #323b47; --text: #e6eaf0; --quiet: #a3adba; --accent: #7db8f5;
    --get: #7db8f5; --post: #74d19b; --patch: #f0b866; --delete: #ff9c94; --code: #1e252e;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body {
  margin: 0; background: var(--ground); color: var(--text);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: break-word;
}
a { color: var(--accent); }
a:focus-visible, summary:focus-visible, pre:focus-visible, .scroll:focus-visible {
  outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 3px;
}
.skip { position: absolute; left: -100vw; }
.skip:focus { left: 1rem; top: 1rem; background: var(--ground); padding: .5rem 1rem; z-index: 1; }
.layout { display: grid; grid-template-columns: 18rem minmax(0, 1fr); max-width: 84rem; margin: 0 auto; }
.contents {
  position: sticky; top: 0; height: 100vh; overflow-y: auto; padding: 1.5rem 1rem 2rem 1.5rem;
  border-right: 1px solid var(--line); font-size: .9rem;
}
.contents p { margin: 1.1rem 0 .2rem; font-weight: 600; }
.contents p a { color: var(--quiet); text-decoration: none; padding: .22rem .4rem; }
.contents p a:hover { text-decoration: underline; }
.contents ul { list-style: none; margin: 0; padding: 0; }
.contents li a { display: block; padding: .22rem .4rem; border-radius: 4px; color: var(--text); text-decoration: none; }
.contents li a:hover { background: var(--raised); text-decoration: underline; }
main { padding: 2rem 3rem 6rem; min-width: 0; }
h1 { font-size: 2.1rem; line-height: 1.2; margin: 0 0 .75rem; }
h2 { font-size: 1.5rem; margin: 3.5rem 0 .5rem; padding-top: 1.25rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.15rem; margin: 0 0 .25rem; }
h4 { font-size: .95rem; margin: 1.4rem 0 .4rem; }
p { margin: .5rem 0; max-width: 46rem; }
.lead { font-size: 1.05rem; }
.quiet { color: var(--quiet); }
code { font: .875em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; background: var(--code); padding: .1em .3em; border-radius: 3px; }
pre { background: var(--code); border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem; overflow-x: auto; margin: .4rem 0; }
pre code { background: none; padding: 0; font-size: .83rem; }
article { margin: 1.75rem 0; padding: 1.25rem 1.4rem; background: var(--ground); border: 1px solid var(--line); border-radius: 8px; }
article h3 a { color: inherit; text-decoration: none; }
article h3 a:hover { text-decoration: underline; }
.address { font: .9rem/1.6 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; margin: 0 0 .5rem; overflow-wrap: anywhere; }
.method { font-weight: 700; margin-right: .5rem; }
.get { color: var(--get); } .post { color: var(--post); } .patch { color: var(--patch); } .delete { color: var(--delete); }
.scope { display: inline-block; font-size: .82rem; color: var(--quiet); border: 1px solid var(--line); border-radius: 99px; padding: .05rem .65rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .45rem .75rem .45rem 0; border-bottom: 1px solid var(--line); }
thead th { color: var(--quiet); font-weight: 600; font-size: .82rem; }
tbody th { font-weight: 400; }
td.type { color: var(--quiet); min-width: 8rem; }
.required { color: var(--delete); font-size: .8rem; white-space: nowrap; }
details { margin: .5rem 0; }
article summary { cursor: pointer; color: var(--accent); width: fit-content; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem .9rem; margin: .4rem 0; }
dt { font-weight: 600; font-variant-numeric: tabular-nums; }
dd { margin: 0; }
@media (max-width: 56rem) {
  .layout { display: block; }
  .contents { position: static; height: auto; border-right: 0; border-bottom: 1px solid var(--line); padding: .6rem .7rem; display: flex; flex-wrap: wrap; }
  .contents ul { display: none; }
  .contents p { margin: 0; }
  .contents p a { display: block; padding: .45rem .5rem; color: var(--accent); }
  main { padding: 1.5rem 1.1rem 4rem; }
  h1 { font-size: 1.7rem; }
  article { padding: 1rem; margin-left: -.35rem; margin-right: -.35rem; }
  table, thead, tbody, tr, th, td { display: block; }
  thead { position: absolute; left: -100vw; }
  tr { padding: .5rem 0; border-bottom: 1px solid var(--line); }
  th, td { border: 0; padding: .05rem 0; }
}
@media print { .contents { display: none; } .layout { display: block; } }
`;
