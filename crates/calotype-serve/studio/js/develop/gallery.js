/* The contact sheet: every picture that this server keeps, newest first, as far as one scrolls. */
import { ago, announce, byId, h, icon, later } from '../dom.js';
import { get, remove } from '../api.js';
import { complain, confirm } from '../dialogs.js';
import { shortcut } from '../shortcuts.js';

const PAGE = 48;

/** @param {{open: function(object), repeat: function(object), removed: function(object)}} on */
export function createGallery(on) {
  const list = byId('gallery');
  const note = byId('gallery-note');
  let pictures = [];
  let more = true;
  let loading = false;
  let search = '';
  let generation = 0;

  function cell(picture) {
    const open = h('button.frame-button', {
      type: 'button', dataset: { id: picture.id }, title: picture.prompt, onclick: () => on.open(picture),
      'aria-label': `${picture.prompt || 'no prompt'}, ${ago(picture.created)}`,
    }, h('img', { src: picture.thumbnail, alt: '', loading: 'lazy', decoding: 'async', draggable: false }));
    return h('li', { dataset: { id: picture.id } }, open,
      h('div.frame-deeds', {},
        h('button.quiet.square', { type: 'button', title: 'Repeat this', tabIndex: -1, 'aria-label': `Repeat ${picture.prompt}`,
          onclick: () => on.repeat(picture) }, icon('repeat')),
        h('button.quiet.square', { type: 'button', title: 'Delete', tabIndex: -1, 'aria-label': `Delete ${picture.prompt}`,
          onclick: () => forget(picture) }, icon('trash'))));
  }

  function say() {
    if (loading && !pictures.length) note.textContent = 'Loading …';
    else if (!pictures.length) note.textContent = search ? `No prompt has “${search}”.`
      : 'Pictures that you develop are kept here.';
    else note.textContent = '';
  }

  async function loadMore() {
    if (loading || !more) return;
    loading = true;
    const mine = generation;
    say();
    try {
      const query = new URLSearchParams({ limit: String(PAGE) });
      if (pictures.length) query.set('before', pictures[pictures.length - 1].id);
      if (search) query.set('prompt', search);
      const page = await get(`/api/pictures?${query}`);
      if (mine !== generation) return;
      more = page.more;
      pictures.push(...page.pictures);
      list.append(...page.pictures.map(cell));
    } catch (error) {
      more = false;
      if (error.status) complain(error);
    } finally {
      if (mine === generation) {
        loading = false;
        say();
      }
    }
    // A tall window shows the end before anything was scrolled.
    if (more && byId('gallery-end').getBoundingClientRect().top < innerHeight + 400) loadMore();
  }

  function restart() {
    generation += 1;
    loading = false;
    more = true;
    pictures = [];
    list.replaceChildren();
    return loadMore();
  }

  /** Deletes a picture, if the person means it. @param {object} picture */
  async function forget(picture) {
    if (!await confirm('Delete this picture?',
      `“${picture.prompt}” and its maps are deleted. Its run can be repeated only if you kept the PNG.`, 'Delete')) return;
    try {
      await remove(`/api/pictures/${picture.id}`);
    } catch (error) {
      if (error.status !== 404) { complain(error); return; }
    }
    const at = pictures.findIndex(({ id }) => id === picture.id);
    pictures = pictures.filter(({ id }) => id !== picture.id);
    list.querySelector(`li[data-id="${picture.id}"]`)?.remove();
    list.querySelectorAll('.frame-button')[Math.min(at, pictures.length - 1)]?.focus({ preventScroll: true });
    announce('Deleted');
    say();
    on.removed(picture);
  }

  /** Arrow keys move over the sheet as over a table. */
  list.addEventListener('keydown', (event) => {
    const buttons = [...list.querySelectorAll('.frame-button')];
    const at = buttons.indexOf(event.target);
    if (at < 0) return;
    const columns = buttons.findIndex((button) => button.offsetTop > buttons[0].offsetTop);
    const row = columns < 0 ? buttons.length : columns;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - row, ArrowDown: at + row, Home: 0,
      End: buttons.length - 1 }[event.key];
    if (event.key === 'Delete') forget(pictures[at]);
    else if (event.key === 'r') on.repeat(pictures[at]);
    else if (to === undefined) return;
    else buttons[Math.max(0, Math.min(buttons.length - 1, to))].focus();
    event.preventDefault();
    event.stopPropagation();
  });

  byId('search').addEventListener('input', later(() => {
    search = byId('search').value.trim();
    restart();
  }, 220));
  shortcut('develop', 's', 'search the contact sheet', () => byId('search').focus());
  new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) loadMore(); },
    { rootMargin: '400px' }).observe(byId('gallery-end'));
  document.addEventListener('server-back', restart);

  return {
    restart,
    forget,
    /** Puts new pictures first. @param {object[]} fresh */
    add(fresh) {
      if (search) return;
      const unseen = fresh.filter(({ id }) => !pictures.some((picture) => picture.id === id));
      pictures.unshift(...[...unseen].reverse());
      for (const picture of unseen) list.prepend(cell(picture));
      say();
    },
    /** Marks what is in the tray. @param {object[]} shown */
    mark(shown) {
      for (const button of list.querySelectorAll('.frame-button')) {
        if (shown.some(({ id }) => id === button.dataset.id)) button.setAttribute('aria-current', 'true');
        else button.removeAttribute('aria-current');
      }
    },
  };
}
