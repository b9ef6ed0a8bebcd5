// The page: what the pointer and the keys are told about a drawing, and the start.

const tooltip = html('div', {className: 'tooltip', hidden: true});
tooltip.setAttribute('role', 'status');
let pointed = null;  // the drawing whose cursor is shown

function hideTooltip() {
  pointed?.hide();
  pointed = null;
  tooltip.hidden = true;
}

function showTooltip(drawing, cursor) {
  hideTooltip();
  pointed = drawing;
  drawing.cursor = cursor;
  const {x, y, rows} = drawing.show(cursor);
  tooltip.replaceChildren(...rows.map(([label, value, {color, strong} = {}]) => {
    const row = html('div', {className: strong ? 'strong' : ''});
    const swatch = html('span', {className: 'swatch'});
    if (color) swatch.style.background = color;
    row.append(...(color ? [swatch] : []), html('span', {textContent: label}), html('b', {textContent: value}));
    return row;
  }));
  tooltip.hidden = false;
  // Beside the place, where there is room.
  const box = drawing.svg.getBoundingClientRect(), scale = box.width / drawing.width;
  const atX = box.left + x * scale, atY = box.top + y * scale;
  const {width, height} = tooltip.getBoundingClientRect();
  const left = atX + 16 + width < innerWidth ? atX + 16 : Math.max(4, atX - 16 - width);
  const top = Math.min(Math.max(4, atY - height / 2), innerHeight - height - 4);
  Object.assign(tooltip.style, {left: `${left}px`, top: `${top}px`});
}

function drawingOf(event) {
  const element = event.target.closest?.('.drawing');
  return element?.drawing.xAxis ? element.drawing : null;
}

const firstCursor = (drawing) => drawing.cursorAt(drawing.left, drawing.bottom);

function start() {
  document.body.append(tooltip);
  const figures = [...document.querySelectorAll('article.figure')].map((article) => new Figure(article));
  const redraw = () => figures.forEach((figure) => figure.draw());
  addEventListener('resize', redraw);
  darkScheme.addEventListener('change', redraw);
  addEventListener('beforeprint', () => {
    printing = true;
    redraw();
  });
  addEventListener('afterprint', () => {
    printing = false;
    redraw();
  });
  for (const type of ['pointermove', 'pointerdown']) {
    document.addEventListener(type, (event) => {
      const drawing = drawingOf(event);
      if (!drawing) return hideTooltip();
      const box = drawing.svg.getBoundingClientRect(), scale = drawing.width / box.width;
      const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
      const isInside = x >= drawing.left && x <= drawing.right && y >= drawing.top && y <= drawing.bottom;
      if (isInside)
        showTooltip(drawing, drawing.cursorAt(x, y));
      else
        hideTooltip();
    });
  }
  document.addEventListener('keydown', (event) => {
    const drawing = drawingOf(event);
    if (event.key === 'Escape') hideTooltip();
    if (!drawing || !event.key.startsWith('Arrow')) return;
    event.preventDefault();
    showTooltip(drawing, drawing.cursor ? drawing.moved(drawing.cursor, event.key) : firstCursor(drawing));
  });
  document.addEventListener('focusin', (event) => {
    const drawing = drawingOf(event);
    if (drawing && event.target.matches(':focus-visible')) showTooltip(drawing, drawing.cursor ?? firstCursor(drawing));
  });
  document.addEventListener('focusout', hideTooltip);
  // What the keys point at moves with the page, also where the focus made it scroll.
  addEventListener('scroll', () => {
    if (pointed?.element === document.activeElement)
      showTooltip(pointed, pointed.cursor);
    else
      hideTooltip();
  }, {passive: true});
}

start();
