/* Keys. Each room registers its own; `?` lists those that work where one is. */
import { h } from './dom.js';
import { dialog } from './dialogs.js';

const shortcuts = [];
let room = 'develop';

/** Which room's keys work. @param {string} name */
export function enterRoom(name) { room = name; }

/**
 * @param {string|null} where a room, or null for everywhere
 * @param {string} key as `KeyboardEvent.key`; `Mod+` stands for Ctrl or Cmd
 * @param {string} about what it does; '' where another line of the list says it
 * @param {function(KeyboardEvent): (void|false)} action false: not now, let the key pass
 */
export function shortcut(where, key, about, action) { shortcuts.push({ where, key, about, action }); }

/** Keys that an element handles itself, or several at once, for the list alone. */
export function documented(where, key, about) { shortcuts.push({ where, key, about, action: null }); }

const mac = /Mac|iPhone|iPad/.test(navigator.platform ?? '');

function pressed(event) {
  const mod = event.ctrlKey || event.metaKey ? 'Mod+' : '';
  const shift = event.shiftKey && event.key.length > 1 ? 'Shift+' : '';
  return mod + shift + event.key;
}

function writing(target) {
  return target.isContentEditable || target.tagName === 'TEXTAREA' || target.tagName === 'SELECT'
    || (target.tagName === 'INPUT' && !['range', 'checkbox', 'radio', 'button'].includes(target.type));
}

document.addEventListener('keydown', (event) => {
  if (event.altKey || event.isComposing) return;
  const key = pressed(event);
  // Letters belong to who writes; keys with Ctrl, and Escape, do not.
  if (writing(event.target) && !key.startsWith('Mod+') && key !== 'Escape') return;
  if (document.querySelector('dialog[open]')) return;
  // Arrows move the slider or the choice that has the focus.
  if (['range', 'radio'].includes(event.target.type) && event.key.startsWith('Arrow')) return;
  for (const { where, key: wanted, action } of shortcuts) {
    if (wanted !== key || !action || (where !== null && where !== room)) continue;
    if (action(event) === false) continue;
    event.preventDefault();
    return;
  }
});

const NAMES = { 'Mod+': mac ? '⌘ ' : 'Ctrl ', 'Shift+': 'Shift ', Escape: 'Esc', ArrowLeft: '←', ArrowRight: '→', ArrowDown: '↓',
  ArrowUp: '↑' };

function shown(key) {
  return Object.entries(NAMES).reduce((text, [from, to]) => text.replaceAll(from, to), key);
}

/** The list of keys. */
export function showHelp() {
  const table = (title, list) => list.length === 0 ? null : h('section', {}, h('h3', {}, title),
    h('dl.keys', {}, ...list.flatMap(({ key, about }) => [h('dt', {}, ...shown(key).split(' ').map((part) => h('kbd', {}, part))),
      h('dd', {}, about)])));
  const name = room.charAt(0).toUpperCase() + room.slice(1);
  dialog('Keys', [
    table(`In ${name}`, shortcuts.filter(({ where, about }) => where === room && about)),
    table('Everywhere', shortcuts.filter(({ where }) => where === null)),
    h('p.fine', {}, 'Everything can be reached with Tab as well; what has the focus has an amber outline.'),
  ].filter(Boolean), [], 'wide');
}
