/* Curves of a part over its steps, of one run or several. */
import { h, plain } from '../dom.js';
import { get } from '../api.js';
import { COLOURS, lineChart } from '../chart/line.js';
import { recall, remember } from '../store.js';

/** Names that say how far a model is, before those that say what the schedule did. */
const ORDER = ['loss'];

/* Appends what was logged since; the step that both have is not doubled. */
function join(known, more) {
  const last = known.steps[known.steps.length - 1] ?? -Infinity;
  const fresh = more.steps.map((step, index) => (step > last ? index : -1)).filter((index) => index >= 0);
  const had = known.steps.length;
  for (const key of new Set([...Object.keys(known.series), ...Object.keys(more.series)])) {
    const [old, values] = [known.series[key] ?? [], more.series[key] ?? []];
    if (!old.length && !values.length) continue;
    if (Array.isArray(values[0] ?? old[0])) {
      known.series[key] = [...old, ...values.filter(([step]) => !old.some(([each]) => each === step))];
    } else {
      // A number that appears late has nothing to say of the steps before.
      const start = [...old, ...new Array(Math.max(0, had - old.length)).fill(null)];
      known.series[key] = [...start, ...fresh.map((index) => values[index] ?? null)];
    }
  }
  known.steps.push(...fresh.map((index) => more.steps[index]));
}

/**
 * @param {string} id the open run
 * @param {string[]} others runs drawn beside it
 */
export function createCurves(id, others) {
  const chart = lineChart('Curves');
  const picker = h('div.segments.wrap');
  const log = h('input', { type: 'checkbox', id: 'log', checked: recall('log', false),
    onchange: () => { remember('log', log.checked); draw(); } });
  const smoothing = h('input', { type: 'range', id: 'smoothing', min: '0', max: '0.98', step: '0.02',
    value: String(recall('smoothing', 0.8)), oninput: () => { remember('smoothing', Number(smoothing.value)); draw(); } });
  const legend = h('ul.legend');
  const note = h('p.fine.note', { hidden: true });
  const element = h('section.block.curves', { 'aria-label': 'Curves' },
    h('div.curve-head', {}, h('fieldset', {}, h('legend.unseen', {}, 'Which number'), picker),
      h('div.curve-tools', {}, h('label', { htmlFor: 'log' }, log, 'log'),
        h('label', { htmlFor: 'smoothing' }, 'smooth', smoothing))),
    legend, chart.element, note);
  let runs = [id, ...others.filter((other) => other !== id)].slice(0, COLOURS);
  let part = null;
  let name = 'loss';
  let data = new Map();
  let asked = 0;

  const fetchSeries = async (run, since = 0) => {
    try { return await get(`/api/runs/${encodeURIComponent(run)}/series?part=${part}&since=${since}`); } catch { return null; }
  };

  async function load() {
    const mine = ++asked;
    const all = await Promise.all(runs.map((run) => fetchSeries(run)));
    if (mine !== asked) return;
    data = new Map(runs.map((run, index) => [run, all[index]]).filter(([, series]) => series));
    pick();
    draw();
  }

  function names() {
    const all = new Set([...data.values()].flatMap(({ series }) => Object.keys(series).filter((each) => series[each].length)));
    return [...all].filter((each) => each !== 'validation_loss' || !all.has('loss'))
      .sort((a, b) => rank(a) - rank(b));
  }
  const rank = (each) => (ORDER.includes(each) ? 0 : each.startsWith('validation') ? 1 : each.includes('learning_rate') ? 3 : 2);

  function pick() {
    const all = names();
    if (!all.includes(name)) [name] = all.length ? all : ['loss'];
    picker.replaceChildren(...all.map((each, index) => {
      const key = `curve-${index}`;
      return h('span', {}, h('input', { type: 'radio', name: 'curve', id: key, checked: each === name,
        onchange: () => { name = each; draw(); } }),
        h('label', { htmlFor: key }, plain(each)));
    }));
  }

  function points(series, key) {
    const values = series.series[key] ?? [];
    return Array.isArray(values[0]) ? values : values.map((value, index) => [series.steps[index], value]);
  }

  function draw() {
    const list = [];
    [...data].forEach(([run, series]) => {
      const colour = runs.indexOf(run);
      const dots = name.startsWith('validation');
      list.push({ name: data.size > 1 ? run : plain(name), colour, points: points(series, name), dots });
      // What is measured on pictures that were not trained on belongs to the loss that was.
      if (name === 'loss' && series.series.validation_loss?.length) {
        list.push({ name: data.size > 1 ? `${run}, validation` : 'validation loss',
          colour: data.size > 1 ? colour : (colour + 1) % COLOURS, points: points(series, 'validation_loss'), dots: true });
      }
    });
    const shown = list.filter((one) => one.points.length);
    chart.draw({ series: shown, log: log.checked, smoothing: Number(smoothing.value), yLabel: name });
    chart.element.hidden = shown.length === 0;
    note.hidden = shown.length > 0;
    note.textContent = `Nothing of ${part} is logged yet.`;
    legend.replaceChildren(...(shown.length > 1 ? shown.map((one) => h(`li.colour-${one.colour}`, {},
      h(one.dots ? 'i.dotted' : 'i'), one.name)) : []));
  }

  return {
    element,
    /** @param {string} next the part */
    show(next) { part = next; return load(); },
    /** Fetches what was logged since, of the open run. */
    async grow() {
      const known = data.get(id);
      if (!known) { await load(); return; }
      const more = await fetchSeries(id, known.steps[known.steps.length - 1] ?? 0);
      if (!more || !data.get(id)) return;
      join(known, more);
      pick();
      draw();
    },
    compare(list) {
      runs = [id, ...list.filter((other) => other !== id)].slice(0, COLOURS);
      return load();
    },
    dispose: chart.dispose,
  };
}
