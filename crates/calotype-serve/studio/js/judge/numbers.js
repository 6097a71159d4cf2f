/* The numbers of chosen evaluations: shares on one axis with their intervals, controls apart, the rest as a table. */
import { ago, h, number } from '../dom.js';
import { whiskers } from '../chart/whiskers.js';
import { isShare, metricLabel, modelLabel, sortMetrics } from './names.js';

/** @param {object[]} chosen evaluations; the place of each is its colour @returns {Node[]} */
export function numbersOf(chosen) {
  const keys = sortMetrics([...new Set(chosen.flatMap(({ metrics }) => Object.keys(metrics)))]);
  const marks = new Map(keys.map((key) => [key, chosen
    .map(({ metrics, model }, colour) => ({ ...metrics[key], name: modelLabel(model), colour }))
    .filter(({ value }) => Number.isFinite(value))]));
  const known = keys.filter((key) => marks.get(key).length);
  const shares = known.filter((key) => marks.get(key).every((mark) => isShare(mark, key)));
  // What the model reaches has an interval; what it is held against (empty prompts, true pictures) has none.
  const reached = shares.filter((key) => marks.get(key).some(({ low }) => Number.isFinite(low)));
  const controls = shares.filter((key) => !reached.includes(key));
  const others = known.filter((key) => !shares.includes(key));
  const chart = (list, caption) => whiskers(list.map((key) => ({ label: metricLabel(key, keys), marks: marks.get(key) })), { caption });
  const folded = (title, content) => h('details.recipe', {}, h('summary', {}, title), content);
  return [
    head(chosen),
    chosen.length > 1 ? h('ul.legend', {}, ...chosen.map(({ model, kind, when }, colour) =>
      h(`li.colour-${colour}`, {}, h('i.dotted'), `${modelLabel(model)}, ${kind}, ${ago(when)}`))) : null,
    reached.length ? chart(reached, 'Shares with 95 % intervals') : null,
    controls.length ? folded(`Controls and calibrations: ${controls.length}`, chart(controls, 'Controls and calibrations')) : null,
    others.length ? folded(`Other numbers: ${others.length}`, table(others, keys, marks)) : null,
  ];
}

function head(chosen) {
  const models = [...new Set(chosen.map(({ model }) => modelLabel(model)))];
  const protocols = new Set(chosen.map(({ kind, protocol }) => `${kind} ${protocol?.name ?? ''}`));
  return h('div.chart-head', {}, h('h2', {}, new Intl.ListFormat('en').format(models)),
    h('p.fine', {}, 'Dots are what was counted; lines are 95 % intervals. ',
      'Where two lines do not overlap, chance alone hardly explains the difference.'),
    protocols.size > 1 ? h('p.fine', {}, 'These were measured by different protocols: on other prompts, perhaps of fewer nouns.') : null);
}

function table(list, keys, marks) {
  const cell = ({ value, low, high, colour }) => h(`td.number.colour-${colour}`, {}, h('i.key-dot'), number(value),
    Number.isFinite(low) ? h('span.fine', {}, ` ${number(low)} to ${number(high)}`) : null);
  return h('table.numbers', {}, h('caption.unseen', {}, 'Other numbers'),
    h('tbody', {}, ...list.map((key) => h('tr', {}, h('th', { scope: 'row' }, metricLabel(key, keys)), ...marks.get(key).map(cell)))));
}
