/* Questions and notices: one dialog at a time, notices in a stack under the bar. */
import { byId, h, icon } from './dom.js';

/**
 * Opens a dialog; resolves when it closes, with the value of the button that closed it ('' for Escape).
 * @param {string} title
 * @param {Node[]} content
 * @param {Node[]} buttons those of `type: submit` close it with their value
 * @returns {Promise<string>}
 */
export function dialog(title, content, buttons = [], kind = '') {
  const id = `dialog-${Math.round(performance.now() * 1000)}`;
  const element = h('dialog', { className: kind, 'aria-labelledby': id },
    h('form', { method: 'dialog' },
      h('div.dialog-head', {}, h('h2', { id }, title),
        h('button.quiet.square', { type: 'submit', value: '', title: 'Close (Esc)', formNoValidate: true }, icon('close'),
          h('span.unseen', {}, 'Close'))),
      ...content,
      buttons.length ? h('div.dialog-buttons', {}, ...buttons) : null));
  document.body.append(element);
  return new Promise((resolve) => {
    element.addEventListener('close', () => {
      element.remove();
      resolve(element.returnValue);
    });
    // A click beside the dialog closes it, as people expect.
    element.addEventListener('click', (event) => { if (event.target === element) element.close(''); });
    element.showModal();
    element.querySelector('[autofocus]')?.focus();
  });
}

/** Whether the person agrees. @param {string} title @param {string} text @param {string} yes the button's word */
export async function confirm(title, text, yes) {
  const answer = await dialog(title, [h('p', {}, text)], [
    h('button.quiet', { type: 'submit', value: '' }, 'Keep'),
    h('button.main', { type: 'submit', value: 'yes', autofocus: true }, yes),
  ]);
  return answer === 'yes';
}

/**
 * A notice that stays until it is closed, or for `seconds`.
 * @param {string} text @param {{hint?: string, kind?: 'error'|'plain', seconds?: number, key?: string}} [how]
 *   of notices with one key only the last stays
 * @returns {function()} closes it
 */
export function notice(text, { hint = null, kind = 'plain', seconds = 0, key = null } = {}) {
  if (key) byId('notices').querySelectorAll(`[data-key="${key}"]`).forEach((old) => old.remove());
  const element = h('div.notice', { role: kind === 'error' ? 'alert' : 'status', dataset: { kind, key: key ?? '' } },
    icon(kind === 'error' ? 'warn' : 'check'),
    h('p', {}, text, hint ? h('span.fine', {}, ` ${hint}`) : null),
    h('button.quiet.square', { type: 'button', onclick: () => element.remove() }, icon('close'), h('span.unseen', {}, 'Dismiss')));
  byId('notices').append(element);
  if (seconds) setTimeout(() => element.remove(), seconds * 1000);
  return () => element.remove();
}

/** An error of the server, as a notice. @param {Error} error */
export function complain(error) {
  if (error.name === 'AbortError' || error.status === 0) return;
  notice(sentence(error.message), { hint: error.hint ? sentence(error.hint) : null, kind: 'error', key: 'error' });
}

/** A message of the program as a sentence of the page. @param {string} text */
export function sentence(text) {
  const clean = (text ?? '').trim();
  // A name of the program (`vae.beta`, `max_objects`) is written as it is.
  const named = /^[\w-]*[._`][\w.`]/.test(clean);
  return (named ? clean : clean.charAt(0).toUpperCase() + clean.slice(1)) + (/[.?!]$/.test(clean) ? '' : '.');
}
