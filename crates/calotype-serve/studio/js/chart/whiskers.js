/* Shares with their 95 % intervals: a dot for the value, a line for where the truth may be. */
import { h, percent } from '../dom.js';

/**
 * @typedef {object} Mark
 * @property {number} colour
 * @property {string} name
 * @property {number} value @property {number|null} low @property {number|null} high
 * @property {number|null} [n]
 */

/**
 * A row for each measure, in it a mark for each of those compared. Built of ordinary elements, so that it is a table to a screen reader.
 * @param {{label: string, marks: Mark[]}[]} rows
 * @param {{caption: string, from?: number, to?: number}} how the axis, as shares
 */
export function whiskers(rows, { caption, from = 0, to = 1 }) {
  const place = (share) => `${(100 * (Math.min(to, Math.max(from, share)) - from)) / (to - from)}%`;
  const several = rows.some(({ marks }) => marks.length > 1);
  const mark = (one) => {
    const dot = h('i.dot');
    const line = one.low === null || one.low === undefined ? null : h('i.span');
    dot.style.left = place(one.value);
    if (line) {
      line.style.left = place(one.low);
      line.style.width = `calc(${place(one.high)} - ${place(one.low)})`;
    }
    return h(`div.whisk.colour-${one.colour}`, { title: text(one) }, line, dot);
  };
  return h('table.whiskers', {},
    h('caption.unseen', {}, caption),
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, h('span.unseen', {}, 'Measure')),
      h('td.scale', { 'aria-hidden': 'true' }, axis(from, to, place)),
        h('th.value', { scope: 'col' }, h('span.unseen', {}, 'Value and 95 % interval')))),
    h('tbody', {}, ...rows.map(({ label, marks }) => h('tr', {},
      h('th', { scope: 'row' }, label),
      h('td.plot', { 'aria-hidden': 'true' }, grid(from, to, place), ...marks.map(mark)),
      h('td.value', {}, ...marks.map((one) => h(`p.colour-${one.colour}`, {},
        several ? h('span.unseen', {}, `${one.name}: `) : null, several ? h('i.key-dot') : null,
        h('b', {}, percent(one.value, 1)), ' ', h('span.fine', {}, interval(one)))))))));
}

const ticks = (from, to) => Array.from({ length: 5 }, (_, index) => from + ((to - from) * index) / 4);

function axis(from, to, place) {
  return h('div.axis-text', {}, ...ticks(from, to).map((tick) => {
    const text = h('span', {}, percent(tick));
    text.style.left = place(tick);
    return text;
  }));
}

function grid(from, to, place) {
  return h('div.lines', {}, ...ticks(from, to).map((tick) => {
    const line = h('i');
    line.style.left = place(tick);
    return line;
  }));
}

const interval = ({ low, high, n }) => [
  low === null || low === undefined ? null : `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)}`,
  n ? `n = ${n}` : null,
].filter(Boolean).join(', ');

const text = (one) => `${one.name}: ${percent(one.value, 1)}${one.low === null || one.low === undefined ? '' : ` (95 %: ${interval(one)})`}`;
