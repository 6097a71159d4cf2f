/* Below the tray: how the picture was made, and what can be done with it. */
import { announce, byId, duration, h, icon, iconButton } from '../dom.js';
import { changes } from './align.js';

/** The settings of a picture as one line. @param {object} picture */
function settingsLine({ seed, index, request, width, height, seconds, model }) {
  return [
    model,
    `seed ${seed}${index ? `, number ${index}` : ''}`,
    request.sampler, `${request.steps ?? '?'} steps`,
    request.guidance !== null && request.guidance !== undefined ? `guidance ${request.guidance}` : null,
    `${width} × ${height}`,
    seconds ? duration(seconds) : null,
  ].filter(Boolean).join(' · ');
}

/**
 * @param {ReturnType<import('./view.js').createView>} view
 * @param {{repeat: function(object), begin: function(object), remove: function(object), parent: function(object)}} on
 */
export function createCaption(view, on) {
  const { state } = view;
  const box = byId('caption');

  function show() {
    const chosen = state.pictures[state.solo ?? state.pictures.length - 1];
    box.hidden = !chosen || Boolean(state.developing);
    if (box.hidden) return;
    if (state.pictures.length > 1 && state.solo === null && !state.compare) {
      box.replaceChildren(
        h('p.made', {}, `${state.pictures.length} pictures of seed ${chosen.seed}. Choose one, or press 1 to ${state.pictures.length}.`));
      return;
    }
    box.replaceChildren(
      ...(state.compare ? [link()] : []),
      h('p.made', {}, settingsLine(chosen)),
      h('div.deeds', {},
        state.solo !== null ? iconButton('grid', 'All', () => view.set({ solo: null }), { title: 'All pictures of this job (0)' })
          : null,
        iconButton('repeat', 'Repeat', () => on.repeat(chosen), { title: 'Take its prompt and settings (r)' }),
        chosen.parent && !state.compare ? iconButton('beside', 'Beside its original', () => on.parent(chosen)) : null,
        iconButton('image', 'Begin with it', () => on.begin(chosen), { title: 'Make another picture from this one' }),
        h('a.quiet.button', { href: chosen.image, download: `${chosen.id}.png`, title: 'The PNG records its run' }, icon('save'),
          h('span', {}, 'Save')),
        iconButton('trash', 'Delete', () => on.remove(chosen), { title: 'Delete (Del)' })));
  }

  function link() {
    const [before, after] = state.pictures;
    const words = changes(before.prompt, after.prompt).map(({ gone, come }) => `${gone || 'nothing'} → ${come || 'nothing'}`);
    const same = before.seed === after.seed && before.index === after.index;
    return h('p.link-line', {}, icon('link'), h('span', {}, same ? `One noise, seed ${after.seed}: ` : 'Two noises: ',
      h('strong', {}, words.join(', ') || 'the same words')));
  }

  view.on(['pictures', 'solo', 'compare', 'developing'], show);
  view.on(['solo'], () => announce(state.solo === null ? 'All pictures' : `Picture ${state.solo + 1}`));
}
