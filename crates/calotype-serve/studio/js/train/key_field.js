/* One key of a recipe as a field: its range, default and help come from the definition that the errors come from. */
import { h } from '../dom.js';
import { fromRaw, toRaw } from './toml.js';

/* Help comes from a page in Markdown: here it is plain text. */
const unmarked = (text) => text.replace(/\[([^\]]+)\]\([^)]*\)/g, '$1').replace(/[`*]/g, '').replace(/\\\|/g, '|');

/**
 * @param {{key: string, type: string, default: any, least: number|null, most: number|null, range?: string,
 *   choices: string[]|null, help: string, part: string}} key
 * @param {function(string|null)} onchange the value as TOML, or null for the default
 */
export function keyField(key, onchange) {
  const id = `key-${key.key.replace(/[^a-z0-9]/gi, '-')}`;
  const input = control();
  const fault = h('span.fault', { role: 'alert', hidden: true });
  const help = h('span.fine', { id: `${id}-help` }, [key.help, range()].filter(Boolean).map(unmarked).join(' · '));
  const name = key.key.startsWith(`${key.part}.`) ? key.key.slice(key.part.length + 1) : key.key;
  const element = h('div.knob.key', {}, h('label', { htmlFor: id }, name), input, help, fault);
  let isSet = false;

  function control() {
    const shared = { id, 'aria-describedby': `${id}-help`, onchange: () => change() };
    if (key.type === 'boolean' || key.type === 'choice') {
      const choices = key.type === 'boolean' ? ['true', 'false'] : key.choices ?? [];
      return h('select', shared, h('option', { value: '' },
        key.default === null || key.default === undefined ? 'not set' : `${key.default} (default)`),
        ...choices.map((choice) => h('option', { value: choice }, choice)));
    }
    const placeholder = key.default === null || key.default === undefined ? 'not set' : String(key.default);
    return h('input', { ...shared, type: 'text', inputMode: key.type === 'integer' ? 'numeric' : key.type === 'number' ? 'decimal'
      : 'text', placeholder, spellcheck: false, autocomplete: 'off' });
  }

  function range() {
    if (key.range) return key.range;
    if (key.least === null && key.most === null) return '';
    if (key.most === null) return `${key.least} or more`;
    return key.least === null ? `at most ${key.most}` : `${key.least} to ${key.most}`;
  }

  function change() {
    const value = input.value.trim();
    if (value === '') onchange(null);
    else onchange(/^[[{]/.test(value) ? value : toRaw(key.type, value));
  }

  return {
    element,
    key,
    set: () => isSet,
    focus: () => input.focus(),
    /** Shows what the recipe says. @param {Map<string, string>} values */
    take(values) {
      const raw = values.get(key.key);
      const nested = [...values].some(([path, value]) => key.key.startsWith(`${path}.`) && value.startsWith('{'));
      // What is written over several lines, or inside a table on one line, is changed in the text.
      const elsewhere = nested || (raw !== undefined && /^\[[^\]]*$/.test(raw));
      isSet = raw !== undefined || nested;
      input.disabled = elsewhere;
      input.title = elsewhere ? 'Change this one in the text' : '';
      if (document.activeElement !== input) input.value = elsewhere ? '' : fromRaw(raw);
    },
    /** @param {string|null} message */
    fault(message) {
      fault.hidden = message === null;
      fault.textContent = message ?? '';
      if (message === null) input.removeAttribute('aria-invalid');
      else input.setAttribute('aria-invalid', 'true');
    },
  };
}
