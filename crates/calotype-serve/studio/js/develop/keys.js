/* Keys of the room Develop. */
import { announce, byId } from '../dom.js';
import { documented, shortcut } from '../shortcuts.js';

/**
 * @param {ReturnType<import('./view.js').createView>} view
 * @param {{again: function(), repeat: function(object), write: function(), running: function(): object|null, forget: function(object)}} deeds
 */
export function registerKeys(view, { again, repeat, write, running, forget }) {
  const { state } = view;
  /** The picture that is looked at: the one alone, or the last. */
  const picture = () => state.pictures[state.solo ?? state.pictures.length - 1] ?? null;

  shortcut('develop', 'Mod+Enter', 'generate', () => byId('ask').requestSubmit());
  shortcut('develop', 'c', 'compare the changed words on the same noise', () => (byId('change').hidden ? false : again()));
  shortcut('develop', 'Escape', 'cancel; let go of a word; leave a field', (event) => {
    if (running()) running().cancel();
    else if (state.pinned !== null || state.hovered !== null || state.spot) view.set({ pinned: null, hovered: null, spot: null });
    else event.target.blur();
  });
  shortcut('develop', '/', 'write the prompt', write);
  shortcut('develop', 'w', 'show the next word', () => {
    if (!state.rows.length) return false;
    view.set({ pinned: state.pinned === null ? 0 : (state.pinned + 1) % state.rows.length });
    announce(state.rows[state.pinned].label);
    return undefined;
  });
  for (const key of ['0', '1', '2', '3', '4']) {
    shortcut('develop', key, '', () => {
      if (state.pictures.length < 2 || state.compare || Number(key) > state.pictures.length) return false;
      return view.set({ solo: key === '0' ? null : Number(key) - 1, spot: null });
    });
  }
  documented('develop', '1 2 3 4', 'one of several pictures');
  documented('develop', '0', 'all of them');
  shortcut('develop', 'r', 'take the prompt and settings of the picture', () => (picture() ? repeat(picture()) : false));
  shortcut('develop', 'Delete', 'delete the picture', () => (picture() && !running() ? void forget(picture()) : false));
  documented('develop', 'ArrowLeft ArrowRight', 'a step back, a step on');
  documented('develop', 'ArrowUp ArrowDown', 'on the picture, with the other two: which words lit a spot');
}
