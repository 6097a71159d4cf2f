/* The house: which room is open, the server's lamp, the theme, the token. */
import { byId, h, setIcon, announce } from './dom.js';
import { get, post, watchServer, onToken } from './api.js';
import { dialog, sentence } from './dialogs.js';
import { recall, remember } from './store.js';
import { documented, enterRoom, shortcut, showHelp } from './shortcuts.js';

const ROOMS = ['develop', 'train', 'judge'];
/** Rooms are fetched when they are first entered: most visits are to one of them. */
const load = {
  develop: () => import('./develop/room.js'),
  train: async () => (await styled(), import('./train/room.js')),
  judge: async () => (await styled(), import('./judge/room.js')),
};
let styles = null;

/* The styles of Train and Judge, once. */
function styled() {
  styles ??= new Promise((resolve) => {
    document.head.append(h('link', { rel: 'stylesheet', href: '/rooms.css', onload: resolve, onerror: resolve }));
  });
  return styles;
}

const opened = new Map();
let current = null;

async function open() {
  const [wanted, ...rest] = location.hash.slice(1).split('/');
  const name = ROOMS.includes(wanted) ? wanted : 'develop';
  // Not the room's own name: the browser would scroll to it.
  for (const room of ROOMS) byId(`room-${room}`).hidden = room !== name;
  document.querySelectorAll('[data-room]').forEach((link) => {
    if (link.dataset.room === name) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  });
  document.title = `${name.charAt(0).toUpperCase()}${name.slice(1)} · Calotype`;
  enterRoom(name);
  if (!opened.has(name)) opened.set(name, load[name]().then((module) => module.open(byId(`room-${name}`))));
  if (current !== null && current !== name) {
    announce(`Room ${name}`);
    scrollTo(0, 0);
  }
  current = name;
  const room = await opened.get(name);
  room?.enter?.(rest.map(decodeURIComponent));
}

/* The lamp of the server: amber while it answers, and a way back when it does not. */
function serverLamp() {
  const lamp = byId('server');
  let gone = false;
  let timer;
  const show = async () => {
    clearTimeout(timer);
    try {
      const status = await get('/api/status');
      const { waiting, running } = status.queue;
      byId('server-text').textContent = waiting ? `${waiting} waiting` : `${status.device}, ${status.threads} ${status.threads === 1 ? 'thread' : 'threads'}`;
      lamp.title = `Calotype ${status.version} (${status.commit}), ${status.threads} threads, ${status.memory_free_mib} MiB free; ${running} running, ${waiting} waiting of at most ${status.queue.most}`;
      lamp.dataset.state = 'there';
    } catch { /* the watcher has seen it */ }
    timer = setTimeout(show, gone ? 2000 : 15000);
  };
  watchServer((there) => {
    if (there === !gone) return;
    gone = !there;
    lamp.dataset.state = gone ? 'gone' : 'there';
    byId('gone')?.remove();
    if (gone) {
      byId('server-text').textContent = 'server gone';
      byId('notices').prepend(h('div.notice', { id: 'gone', role: 'alert', dataset: { kind: 'error' } },
        h('p', {}, 'The server does not answer. ', h('span.fine', {},
          'Start it again with `calotype serve`; this page goes on by itself.'))));
      clearTimeout(timer);
      timer = setTimeout(show, 2000);
    } else {
      byId('server-text').textContent = 'server is back';
      announce('The server is back');
      document.dispatchEvent(new Event('server-back'));
    }
  });
  show();
}

function themes() {
  const names = { system: 'as the system', dark: 'dark', light: 'light' };
  const icons = { system: 'half', dark: 'moon', light: 'sun' };
  let theme = document.documentElement.dataset.theme ?? 'system';
  const show = () => {
    byId('theme-text').textContent = `Theme: ${names[theme]}`;
    setIcon(byId('theme'), icons[theme]);
  };
  const next = () => {
    theme = { system: 'dark', dark: 'light', light: 'system' }[theme];
    if (theme === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    try {
      // Plain text, not JSON: theme.js reads it before any module runs.
      if (theme === 'system') localStorage.removeItem('calotype.theme');
      else localStorage.setItem('calotype.theme', theme);
    } catch { /* it holds until the page closes */ }
    show();
    announce(`Theme: ${names[theme]}`);
    document.dispatchEvent(new Event('theme'));
  };
  byId('theme').addEventListener('click', next);
  show();
  shortcut(null, 't', 'dark, light, as the system', next);
}

onToken(async () => {
  let said = 'This server was started with a token. It is asked for once in this browser.';
  for (;;) {
    const field = h('input', { type: 'password', autocomplete: 'current-password', required: true, autofocus: true, id: 'token' });
    await dialog('The token, please', [h('p', {}, said), h('label.knob', { htmlFor: 'token' }, h('span', {}, 'Token'), field)],
      [h('button.main', { type: 'submit', value: 'go' }, 'Enter')]);
    try {
      await post('/api/session', { token: field.value });
      return;
    } catch (error) {
      said = sentence(error.message);
    }
  }
});

shortcut(null, '?', 'this list', showHelp);
shortcut(null, 'g', 'next room', () => {
  location.hash = ROOMS[(ROOMS.indexOf(current) + 1) % ROOMS.length];
});
documented(null, 'Tab', 'through everything');
byId('help').addEventListener('click', showHelp);
// The address says which room is open, so a link within the page must leave it alone.
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  byId('main').focus();
});
themes();
serverLamp();
addEventListener('hashchange', open);
if (!location.hash && recall('room')) history.replaceState(null, '', `#${recall('room')}`);
addEventListener('hashchange', () => remember('room', current));
open();
