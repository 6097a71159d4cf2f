/* Axes: where the ticks stand and what they say. */

/**
 * Round numbers that cover a range.
 * @param {number} low @param {number} high @param {number} most how many at most
 * @returns {number[]}
 */
export function linearTicks(low, high, most) {
  if (!(high > low)) return [low];
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough * 0.999);
  const ticks = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) ticks.push(index * step + 0); // not -0
  return ticks;
}

/** Powers of ten, and between few of them also twos and fives. @returns {number[]} */
export function logTicks(low, high, most) {
  const [from, to] = [Math.floor(Math.log10(low) + 1e-9), Math.ceil(Math.log10(high) - 1e-9)];
  const steps = to - from <= Math.max(1, most / 3) ? [1, 2, 5] : [1];
  const every = steps.length === 1 ? Math.max(1, Math.ceil((to - from) / most)) : 1;
  const ticks = [];
  for (let power = from; power <= to; power += every) {
    for (const step of steps) {
      const tick = step * 10 ** power;
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  return ticks.length > 1 ? ticks : linearTicks(low, high, most);
}

/** A tick's text, as short as its neighbours allow. @param {number} value @param {number[]} ticks */
export function tickText(value, ticks) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(0).replace('e', '·10^').replace('+', '').replace(/^1·/,
    '');
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))}k`;
  const gap = ticks.length > 1 ? Math.min(...ticks.slice(1).map((tick, index) => Math.abs(tick - ticks[index]))) : size;
  return value.toFixed(Math.min(6, Math.max(0, Math.ceil(-Math.log10(gap || 1) - 1e-9))));
}

/**
 * From values to pixels.
 * @param {[number, number]} domain @param {[number, number]} range @param {boolean} [log]
 * @returns {function(number): number}
 */
export function scale([low, high], [from, to], log = false) {
  const map = log ? Math.log10 : (value) => value;
  const span = map(high) - map(low) || 1;
  return (value) => from + ((map(value) - map(low)) / span) * (to - from);
}

/**
 * An exponential moving average that starts unbiased, as TensorBoard's slider smooths.
 * @param {number[]} values @param {number} weight of the past, from 0 to below 1
 */
export function smooth(values, weight) {
  if (!weight) return values;
  let [sum, norm] = [0, 0];
  return values.map((value) => {
    if (!Number.isFinite(value)) return value;
    sum = sum * weight + value * (1 - weight);
    norm = norm * weight + (1 - weight);
    return sum / norm;
  });
}
