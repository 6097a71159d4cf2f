/* The room Judge: what was measured, and what two models draw of the same prompts and noise. */
import { h } from '../dom.js';
import { shortcut } from '../shortcuts.js';
import { createDuel } from './duel.js';
import { createEvaluations } from './evaluations.js';

/** Fills the room. @param {HTMLElement} room */
export function open(room) {
  const measured = h('div');
  const side = h('div', { hidden: true });
  const tab = (name, text) => h('a', { href: `#judge/${name}`, dataset: { tab: name } }, text);
  const tabs = h('nav.tabs', { 'aria-label': 'Ways to judge' }, tab('measured', 'Measured'), tab('beside', 'Side by side'));
  room.append(h('div.judge-head', {}, h('h1', {}, 'How good is it?'), tabs), measured, side);
  const evaluations = createEvaluations(measured);
  let duel = null;
  const flip = () => { location.hash = side.hidden ? '#judge/beside' : '#judge/measured'; };
  shortcut('judge', 'm', 'measured, or side by side', flip);

  return {
    enter([which = 'measured']) {
      const beside = which === 'beside';
      measured.hidden = beside;
      side.hidden = !beside;
      tabs.querySelectorAll('a').forEach((link) => {
        if (link.dataset.tab === (beside ? 'beside' : 'measured')) link.setAttribute('aria-current', 'true');
        else link.removeAttribute('aria-current');
      });
      if (beside) duel ??= createDuel(side);
      else evaluations.refresh();
    },
  };
}
