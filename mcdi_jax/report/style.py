"""How the pages look: on a screen, light or dark, on a phone, and in print."""

STYLE = """
:root { --ink: #1b1b1b; --soft: #555; --line: #c9c9c9; --paper: #fff; --tint: #f3f4f6;
  --wrong: #a33a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --soft: #b0b0b0;
  --line: #4a4d52; --paper: #16181b; --tint: #22252a; --wrong: #ffb184; } }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 80rem; margin: 0 auto; padding: 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .5rem; }
p { max-width: 46rem; margin: .6rem 0; }
.note, figcaption, footer { color: var(--soft); font-size: .875rem; }
.warning { border-left: .3rem solid var(--wrong); padding-left: .7rem; }
.caption { font-weight: 600; font-size: .9rem; margin: 1.2rem 0 .3rem; break-after: avoid; }
.scroll { overflow-x: auto; margin: 0 0 1rem; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .45rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; font-variant-numeric: tabular-nums; }
thead th { vertical-align: bottom; background: var(--tint); }
tbody th { font-weight: 600; min-width: 7.5rem; position: sticky; left: 0;
  background: var(--paper); }
td.number, th.number { text-align: right; }
td.number { white-space: nowrap; }
.settings td { white-space: pre-wrap; overflow-wrap: anywhere; }
.figures { display: grid; gap: 1rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); }
figure { margin: 0; max-width: 34rem; break-inside: avoid; }
figure.wide { max-width: 40rem; }
hr { border: 0; border-top: 1px solid var(--line); margin-top: 2rem; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure svg { display: block; width: 100%; max-width: 100%; height: auto;
  background: #fff; border-radius: 4px; }
figcaption { padding-top: .3rem; }
pre { background: var(--tint); padding: .8rem; overflow-x: auto; font-size: .85rem; }
summary { cursor: pointer; padding: .3rem 0; }
.classes { list-style: none; margin: .5rem 0; padding: 0; }
.classes > li { display: grid; grid-template-columns: 5rem auto 1fr; gap: .8rem;
  padding: .5rem 0; border-top: 1px solid var(--line); align-items: start;
  break-inside: avoid; }
.classes b { font-size: .875rem; }
.pictures { display: flex; flex-wrap: wrap; gap: .4rem; }
.picture { width: 3.6rem; text-align: center; font-size: .75rem; line-height: 1.3; }
.picture img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain;
  background: #fff; border: 1px solid var(--line); image-rendering: pixelated; }
.picture.wrong img { border: 3px dashed var(--wrong); }
.picture.wrong { color: var(--wrong); font-weight: 700; }
@media (max-width: 36rem) {
  .classes > li { grid-template-columns: 1fr; gap: .3rem; }
  .picture { width: 3.2rem; }
  th, td { padding: .3rem .45rem; }
}
@media print {
  :root { --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; --tint: #fff;
    --wrong: #a33a00; }
  @page { margin: 15mm; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  h2, h3, summary { break-after: avoid; }
  p, tr, pre { break-inside: avoid; }
  thead { display: table-header-group; }
  .scroll, pre { overflow: visible; }
  pre { white-space: pre-wrap; }
  table { font-size: 7.5pt; }
  th, td { padding: .15rem .25rem; }
  tbody th { position: static; }
  h2 + .note { break-after: avoid; }
  .figures { grid-template-columns: 1fr 1fr; }
  figure.wide { max-width: 12cm; }
  details::details-content { content-visibility: visible; height: auto; display: block; }
}
"""

# Browsers that cannot open <details> by the style above open them by this.
SCRIPT = """
addEventListener("beforeprint", () => {
  for (const block of document.querySelectorAll("details")) block.open = true;
});
"""
