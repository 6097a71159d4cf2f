/* Runs before the first paint, so that a page whose theme was chosen never flashes in the other one. */
(() => {
  try {
    const theme = localStorage.getItem('calotype.theme');
    if (theme === 'dark' || theme === 'light') document.documentElement.dataset.theme = theme;
  } catch { /* storage is refused: the system's theme it is */ }
})();
