/* Curves over the steps: several series, raw and smoothed, with a reading under the pointer or the arrow keys. */
import { h, measured, number, s } from '../dom.js';
import { linearTicks, logTicks, scale, smooth, tickText } from './ticks.js';

const MARGIN = { top: 14, right: 14, bottom: 34, left: 54 };
/** Colours of the style sheet, `--c0` to `--c5`. */
export const COLOURS = 6;

/**
 * @typedef {object} Series
 * @property {string} name
 * @property {number} colour
 * @property {[number, number, number?][]} points step, value, and perhaps its standard error
 * @property {boolean} [dots] measured now and then: points with whiskers, never smoothed
 */

/**
 * @param {string} label what the chart shows, for who cannot see it
 * @returns {{element: HTMLElement, draw: function({series: Series[], log: boolean, smoothing: number, yLabel: string}), dispose: function()}}
 */
export function lineChart(label) {
  const svg = s('svg', { tabindex: '0', role: 'img' });
  const reading = h('div.reading', { hidden: true, role: 'status' });
  const element = h('div.line-chart', {}, svg, reading);
  let shown = { series: [], log: false, smoothing: 0, yLabel: '' };
  let cursor = null;
  let plot = null;

  function draw(next = shown) {
    shown = next;
    const { width, height } = element.getBoundingClientRect();
    svg.replaceChildren();
    plot = null;
    if (!width || !height) return;
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const drawable = shown.series.map((one) => ({ ...one,
      points: one.points.filter(([step, value]) => Number.isFinite(step) && Number.isFinite(value) && (!shown.log || value > 0)) }))
      .filter(({ points }) => points.length);
    if (!drawable.length) { svg.setAttribute('aria-label', `${label}: nothing is logged yet`); return; }
    plot = layout(drawable, width, height);
    axes(plot, width, height);
    drawable.forEach((one) => curve(plot, one));
    svg.append(plot.rule);
    svg.setAttribute('aria-label', `${label}. ${drawable.map(summary).join('; ')}. Arrow keys read values.`);
    if (cursor !== null) read(cursor);
  }

  function layout(series, width, height) {
    const all = series.flatMap(({ points }) => points);
    let [left, right] = [Math.min(...all.map(([step]) => step)), Math.max(...all.map(([step]) => step))];
    if (left === right) [left, right] = [left - 1, right + 1];
    // The few wild values of the first steps would flatten the rest: the axis covers all but the topmost hundredth.
    const lows = series.flatMap(({ points }) => points.map(([, value, error]) => value - (error
      ?? 0) * 1.96)).filter((value) => !shown.log || value > 0).sort((a, b) => a - b);
    const highs = series.flatMap(({ points }) => points.map(([, value, error]) => value + (error ?? 0) * 1.96)).sort((a,
      b) => a - b);
    let [low, high] = [lows[0], highs[Math.ceil((highs.length - 1) * (highs.length > 200 && !shown.log ? 0.995 : 1))]];
    if (low === high) [low, high] = shown.log ? [low / 2, high * 2]
      : [low - Math.abs(low) * 0.1 - 1e-9, high + Math.abs(high) * 0.1 + 1e-9];
    const most = Math.max(2, Math.floor((height - MARGIN.top - MARGIN.bottom) / 44));
    if (!shown.log) {
      const pad = (high - low) * 0.04;
      [low, high] = [low >= 0 ? Math.max(0, low - pad) : low - pad, high + pad];
    }
    const yTicks = (shown.log ? logTicks : linearTicks)(low, high, most);
    const x = scale([left, right], [MARGIN.left, width - MARGIN.right]);
    const y = scale([low, high], [height - MARGIN.bottom, MARGIN.top], shown.log);
    const rule = s('g.rule', { visibility: 'hidden' }, s('line', { y1: MARGIN.top, y2: height - MARGIN.bottom }));
    const steps = [...new Set(all.map(([step]) => step))].sort((a, b) => a - b);
    return { x, y, left, right, low, high, yTicks, rule, steps, series, top: MARGIN.top };
  }

  function axes({ x, y, left, right, yTicks }, width, height) {
    const xTicks = linearTicks(left, right, Math.max(2, Math.floor(width / 85)));
    svg.append(
      s('g.grid', {}, ...yTicks.map((tick) => s('line', { x1: MARGIN.left, x2: width - MARGIN.right, y1: y(tick), y2: y(tick) }))),
      s('g.ticks', {},
        ...yTicks.map((tick) => s('text', { x: MARGIN.left - 9, y: y(tick) + 4, 'text-anchor': 'end' },
          document.createTextNode(tickText(tick, yTicks)))),
        s('text', { x: MARGIN.left - 9, y: height - MARGIN.bottom + 19, 'text-anchor': 'end' }, document.createTextNode('step')),
        ...xTicks.filter((tick) => x(tick) > MARGIN.left + 14).map((tick) => s('text',
          { x: x(tick), y: height - MARGIN.bottom + 19, 'text-anchor': 'middle' },
            document.createTextNode(tickText(tick, xTicks))))),
      s('line.axis', { x1: MARGIN.left, x2: width - MARGIN.right, y1: height - MARGIN.bottom, y2: height - MARGIN.bottom }));
  }

  function curve({ x, y, low, high }, { points, colour, dots }) {
    const clamp = (value) => y(Math.min(high, Math.max(low, value)));
    const path = (list) => list.map(([step, value],
      index) => `${index ? 'L' : 'M'}${x(step).toFixed(1)} ${clamp(value).toFixed(1)}`).join('');
    const group = s(`g.colour-${colour}`);
    if (dots) {
      group.append(s('path.line.thin', { d: path(points) }), ...points.flatMap(([step, value, error]) => [
        error ? s('line.whisker', { x1: x(step), x2: x(step), y1: clamp(value - 1.96 * error), y2: clamp(value + 1.96 * error) })
          : null,
        s('circle', { cx: x(step), cy: clamp(value), r: 3.5 })]).filter(Boolean));
    } else {
      const smoothed = smooth(points.map(([, value]) => value), shown.smoothing);
      if (shown.smoothing) group.append(s('path.raw', { d: path(points) }));
      group.append(s('path.line', { d: path(points.map(([step], index) => [step, smoothed[index]])) }));
    }
    svg.append(group);
  }

  const summary = ({ name, points }) => `${name}: ${number(points[0][1])} at step ${points[0][0]}, ${number(points[points.length - 1][1])} at step ${points[points.length - 1][0]}`;

  /* The values at a step: of each series the nearest point, smoothed as it is drawn. */
  function read(step) {
    if (!plot) return;
    cursor = step;
    const at = plot.x(step);
    plot.rule.setAttribute('visibility', 'visible');
    plot.rule.setAttribute('transform', `translate(${at} 0)`);
    const rows = plot.series.map(({ name, colour, points, dots }) => {
      const index = points.reduce((best, [each], place) => (Math.abs(each - step) < Math.abs(points[best][0] - step) ? place
        : best), 0);
      const value = dots ? points[index][1] : smooth(points.map(([, each]) => each), shown.smoothing)[index];
      const error = points[index][2];
      return h(`div.colour-${colour}`, {}, h('i'), h('span', {}, name), h('b', {}, measured(value, error)));
    });
    reading.replaceChildren(h('p', {}, `step ${number(step)}`), ...rows);
    reading.hidden = false;
    const width = element.clientWidth;
    reading.style.left = `${Math.min(width - reading.offsetWidth - 4, Math.max(MARGIN.left, at > width * 0.6 ? at - reading.offsetWidth - 12 : at + 12))}px`;
  }

  function leave() {
    cursor = null;
    reading.hidden = true;
    plot?.rule.setAttribute('visibility', 'hidden');
  }

  const nearest = (step) => plot.steps.reduce((best, each) => (Math.abs(each - step) < Math.abs(best - step) ? each : best),
    plot.steps[0]);
  svg.addEventListener('pointermove', (event) => {
    if (!plot) return;
    const box = svg.getBoundingClientRect();
    const share = (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
    if (share < -0.02 || share > 1.02) { leave(); return; }
    read(nearest(plot.left + share * (plot.right - plot.left)));
  });
  svg.addEventListener('pointerleave', leave);
  svg.addEventListener('blur', leave);
  svg.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!by || !plot) return;
    event.preventDefault();
    event.stopPropagation();
    const { steps } = plot;
    const from = cursor === null ? (by > 0 ? -1 : steps.length) : steps.indexOf(nearest(cursor));
    // A hundred presses cross any curve.
    const stride = Number.isFinite(by) ? by * Math.max(1, Math.round(steps.length / 100)) : by;
    read(steps[Math.min(steps.length - 1, Math.max(0, from + stride))]);
  });
  const resized = new ResizeObserver(() => draw());
  resized.observe(element);
  return { element, draw, dispose: () => resized.disconnect() };
}
