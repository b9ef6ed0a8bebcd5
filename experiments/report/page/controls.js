// Controls: buttons of choices, the grid of layers and heads, sliders, and the table of what is drawn.

// Arrow keys lead from button to button; one of them, the pressed one, is reached by Tab.
function withArrowKeys(element, buttons, columns) {
  const steps = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns};
  element.addEventListener('keydown', (event) => {
    const next = buttons[buttons.indexOf(document.activeElement) + steps[event.key]];
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
  return element;
}

function press(buttons, pressed) {
  buttons.forEach((button, index) => {
    button.setAttribute('aria-pressed', String(index === pressed));
    button.tabIndex = index === pressed ? 0 : -1;
  });
}

function choiceButtons(figure, dimension) {
  const buttons = dimension.entries.map((entry, index) => {
    const button = html('button', {type: 'button', textContent: entryText(entry)});
    button.addEventListener('click', () => {
      dimension.shown = index;
      press(buttons, index);
      figure.draw();
    });
    return button;
  });
  press(buttons, dimension.shown);
  const group = html(
      'div', {className: 'choice'}, html('span', {className: 'control-label', textContent: dimension.label}),
      html('div', {className: 'buttons'}, ...buttons));
  group.setAttribute('role', 'group');
  group.setAttribute('aria-label', dimension.label);
  return withArrowKeys(group, buttons, 1);
}

// Rows are layers, columns heads.
function layerHeadGrid(figure, layer, head) {
  const columns = head.entries.length;
  const place = () => layer.shown * columns + head.shown;
  const buttons = [];
  const rows = layer.entries.map((layerEntry, layerIndex) => {
    const cells = head.entries.map((headEntry, headIndex) => {
      const button = html('button', {type: 'button'});
      button.setAttribute(
          'aria-label', `${layer.label} ${entryText(layerEntry)}, ${head.label} ${entryText(headEntry)}`);
      button.addEventListener('click', () => {
        layer.shown = layerIndex;
        head.shown = headIndex;
        press(buttons, place());
        figure.draw();
      });
      buttons.push(button);
      return html('td', {}, button);
    });
    return html('tr', {}, html('th', {scope: 'row', textContent: entryText(layerEntry)}), ...cells);
  });
  press(buttons, place());
  const headings = head.entries.map((entry) => html('th', {scope: 'col', textContent: entryText(entry)}));
  const corner = html('th', {textContent: `${layer.label} ↓ ${head.label} →`});
  const table = html(
      'table', {className: 'grid'}, html('thead', {}, html('tr', {}, corner, ...headings)), html('tbody', {}, ...rows));
  return withArrowKeys(html('div', {className: 'wide'}, table), buttons, columns);
}

function slider(figure, dimension) {
  const last = dimension.entries.length - 1;
  const input = html('input', {type: 'range', min: 0, max: last, step: 1, value: dimension.shown});
  const output = html('output');
  const play = html('button', {type: 'button', className: 'play'});
  let timer = null;
  const show = (index) => {
    dimension.shown = index;
    input.value = index;
    output.textContent = entryText(dimension.entries[index]);
    input.setAttribute('aria-valuetext', output.textContent);
    figure.draw();
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = '▶';
    play.setAttribute('aria-label', `play through ${dimension.label}`);
  };
  input.addEventListener('input', () => {
    stop();
    show(Number(input.value));
  });
  play.addEventListener('click', () => {
    if (timer) return stop();
    play.textContent = '❚❚';
    play.setAttribute('aria-label', 'stop');
    if (dimension.shown === last) show(0);
    timer = setInterval(() => dimension.shown === last ? stop() : show(dimension.shown + 1), 700);
  });
  stop();
  output.textContent = entryText(dimension.entries[dimension.shown]);
  input.setAttribute('aria-valuetext', output.textContent);
  return html(
      'div', {className: 'slider'},
      html('label', {}, html('span', {className: 'control-label', textContent: dimension.label}), input), output, play);
}

function controlsOf(figure) {
  const isPart = (dimension, name) => dimension.role === 'choice' && dimension.name === name;
  const layer = figure.dimensions.find((dimension) => isPart(dimension, 'layer'));
  const head = figure.dimensions.find((dimension) => isPart(dimension, 'head'));
  const controls = [];
  for (const dimension of figure.controls) {
    if (layer && head && dimension === head) continue;
    if (layer && head && dimension === layer)
      controls.push(layerHeadGrid(figure, layer, head));
    else
      controls.push(dimension.role === 'choice' ? choiceButtons(figure, dimension) : slider(figure, dimension));
  }
  return controls;
}

// The numbers that are drawn: a row for each entry of x, and of the panel; a column for each of y or series.
function numberTable(figure) {
  const across = figure.y ?? figure.series;
  const heading = (text, span = 1) => html('th', {scope: 'col', textContent: text, colSpan: span});
  const places = [...(figure.panel ? [figure.panel.label] : []), figure.x.label];
  const head = html('thead');
  if (across)
    head.append(html('tr', {}, html('td', {colSpan: places.length}), heading(across.label, across.entries.length)));
  head.append(html(
      'tr', {},
      ...places.concat(across ? across.entries.map(entryText) : [figure.valueLabel]).map((text) => heading(text))));
  const body = html('tbody');
  for (let panel = 0; panel < figure.panelCount; ++panel) {
    figure.x.entries.forEach((entry, x) => {
      const names = [...(figure.panel ? [figure.panel.entries[panel]] : []), entry].map(entryText);
      const row = html('tr', {}, ...names.map((text) => html('th', {scope: 'row', textContent: text})));
      for (let other = 0; other < (across ? across.entries.length : 1); ++other) {
        row.append(html('td', {textContent: figure.valueText(figure.offset(panel, x, other))}));
      }
      body.append(row);
    });
  }
  const caption = [figure.valueLabel, figure.state.textContent].filter((text) => text).join(' · ');
  return html('table', {}, html('caption', {textContent: caption}), head, body);
}
