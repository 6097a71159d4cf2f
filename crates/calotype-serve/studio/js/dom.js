/* Elements, and the few ways in which the page speaks: icons, numbers, times, announcements. */

const SVG = 'http://www.w3.org/2000/svg';

/** The element with this id. @param {string} id @returns {HTMLElement} */
export const byId = (id) => document.getElementById(id);

/**
 * Makes an element. Attributes that are functions become listeners (`onclick`), `null` and `false` are left out,
 * and what is a property of the element (`value`, `checked`, `hidden` …) is set as one.
 * Styles are set through the object model alone: a strict content policy refuses style attributes.
 * @param {string} tag name, perhaps with classes: `p.fine.note`
 * @param {object} [attributes]
 * @param {...(Node|string|null|false)} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split('.');
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(' ');
  setAll(element, attributes);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** The same for SVG. @returns {SVGElement} */
export function s(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split('.');
  const element = document.createElementNS(SVG, name);
  if (classes.length) element.setAttribute('class', classes.join(' '));
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter(Boolean));
  return element;
}

/** Replaces what is in an element; what is null or false is left out. @param {Element} element */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

function setAll(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'dataset') Object.assign(element.dataset, value);
    else if (key in element && !key.startsWith('aria') && key !== 'list' && key !== 'form') element[key] = value;
    else if (value !== false) element.setAttribute(key, value === true ? '' : value);
  }
}

/** An icon of the sprite; it says nothing to a screen reader. @param {string} name */
export function icon(name) {
  return s('svg.icon', { 'aria-hidden': 'true' }, s('use', { href: `/icons.svg#${name}` }));
}

/** Shows another icon in a button. @param {Element} button @param {string} name */
export function setIcon(button, name) {
  button.querySelector('use').setAttribute('href', `/icons.svg#${name}`);
}

/** A button with an icon and a text. @param {string} name @param {string} text @param {function} onclick */
export function iconButton(name, text, onclick, attributes = {}) {
  return h('button.quiet', { type: 'button', onclick, ...attributes }, icon(name), h('span', {}, text));
}

/** Says something to who listens rather than looks. @param {string} text */
export function announce(text) {
  const live = byId('live');
  // The same words twice are only read twice if the region was empty between.
  live.textContent = '';
  requestAnimationFrame(() => { live.textContent = text; });
}

/** A number as a person writes it: three or four digits that count. @param {number} value */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return value.toLocaleString('en');
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace('e', ' · 10^').replace('+', '');
  return String(Number(value.toPrecision(size < 1 ? 3 : 4)));
}

/** A measured value with its standard error, both to the digits that the error leaves. @param {number} value @param {number} [error] */
export function measured(value, error) {
  if (!error || !Number.isFinite(error)) {
    // Under a moving pointer a number of changing length would jump.
    const usual = Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6 && !Number.isInteger(value);
    return usual ? value.toPrecision(4) : number(value);
  }
  const digits = Math.min(8, Math.max(0, 1 - Math.floor(Math.log10(error))));
  return `${value.toFixed(digits)} ± ${error.toFixed(digits)}`;
}

/** A share in per cent. @param {number} share @param {number} [digits] */
export const percent = (share, digits = 0) =>
  share === null || share === undefined || Number.isNaN(share) ? '–' : `${(100 * share).toFixed(digits)} %`;

/** Bytes, in the unit that suits them. @param {number} bytes */
export function bytes(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = bytes ?? 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Seconds, short. @param {number} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** The name of a number in a log, for a person. @param {string} name */
export const plain = (name) => name.replace(/_/g, ' ').replace(/\b(psnr|ssim|lpips|iou|rfid|fid|kid|kl|ema|clip)\b/g,
  (word) => word.toUpperCase());

/** How long ago, or the day. @param {number} time seconds since 1970 */
export function ago(time) {
  if (!time) return '–';
  const past = Date.now() / 1000 - time;
  if (past < 60) return 'just now';
  if (past < 3600) return `${Math.round(past / 60)} min ago`;
  if (past < 86400) return `${Math.round(past / 3600)} h ago`;
  return new Date(time * 1000).toLocaleDateString('en', { day: 'numeric', month: 'short', year: 'numeric' });
}

/** Calls `action` when there was no call for `wait` milliseconds. */
export function later(action, wait) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), wait);
  };
}

/** Whether the person asked for less motion. */
export const calm = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
