// Pictures over distance: the map of all components, their sum, the share of angles never seen.

const lift = component => distance =>
    component.gain * component.decay ** distance * Math.cos(component.frequency * distance);
const sumOfCosines = components => {
  const parts = components.map(lift);
  return distance => parts.reduce((sum, part) => sum + part(distance), 0);
};

// The mean of a component's part over distances from..to; a hand that turns many times in between averages to nothing.
function meanLift(component, from, to) {
  const {frequency} = component, scale = component.gain * component.decay ** ((from + to) / 2);
  if (frequency * (to - from) < 1e-3) return scale * Math.cos(frequency * (from + to) / 2);
  return scale * (Math.sin(frequency * to) - Math.sin(frequency * from)) / (frequency * (to - from));
}

// Where a value lies in the colour map, whose ends are 1.5 to either side: on the paler colours of -1 to 1 lines stay
// seen, and gains lead beyond.
const colorFraction = value => clamp((value + 1.5) / 3, 0, 1);

// The colours of -1 to 1.
function drawScale(bar) {
  const map = colorMap(true), stops = Array.from({length: 25}, (_, i) => cssColor(map(colorFraction(i / 12 - 1))));
  bar.style.background = `linear-gradient(90deg,${stops.join()})`;
}

// Component 0 is the lowest row, as in the reports.
function drawMap(container, s, components, description) {
  const width = Math.max(280, container.clientWidth), row = clamp(Math.floor(320 / components.length), 5, 24);
  const top = 34, bottom = top + row * components.length, left = 38;
  const topOf = index => bottom - row * (index + 1);
  const svg = drawing(container, width, bottom + 40, description);
  const axis = distanceAxis(s.factor * s.length, s.axis === 'log', left, width - 8);
  const columns = Math.round(axis.right - axis.left);
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [columns, components.length];
  const context = canvas.getContext('2d'), image = context.createImageData(columns, components.length);
  const pixels = new Uint32Array(image.data.buffer), table = colorTable(true);
  for (const component of components) {
    const start = (components.length - 1 - component.index) * columns;
    for (let x = 0; x < columns; ++x) {
      const mean = meanLift(component, axis.distanceAt(axis.left + x), axis.distanceAt(axis.left + x + 1));
      pixels[start + x] = table[Math.round(255 * colorFraction(mean))];
    }
  }
  context.putImageData(image, 0, 0);
  add(svg, 'image', {
    href: canvas.toDataURL(),
    x: axis.left,
    y: top,
    width: columns,
    height: bottom - top,
    preserveAspectRatio: 'none',
    style: 'image-rendering:pixelated'
  });
  for (const component of components) hatchUnseen(svg, axis, s, component, topOf(component.index), row);
  const step = stepOf(components.length, 8);
  for (let index = 0; index < components.length; index += Math.max(1, step))
    add(svg, 'text', {x: left - 6, y: topOf(index) + row / 2 + 4.5, 'text-anchor': 'end'}, index);
  add(svg, 'text', {x: 0, y: 11}, '\u2191 component');
  add(svg, 'rect', {
    x: axis.left,
    y: topOf(s.component),
    width: columns,
    height: row,
    fill: 'none',
    stroke: 'var(--ink)',
    class: 'selected'
  });
  distanceTicks(svg, axis, bottom);
  lineAtLength(svg, axis, s, top, bottom);
  const marker = add(svg, 'path', {stroke: 'var(--ink)', 'stroke-dasharray': '2 2'});
  return {
    svg,
    rowAt: y => clamp(Math.floor((bottom - y) / row), 0, components.length - 1),
    move: distance => marker.setAttribute('d', `M${rounded(axis.at(distance))} ${top}V${bottom}`),
  };
}

// Hatches the distances whose angles were never met in training.
function hatchUnseen(svg, axis, s, component, y, height) {
  if (!showsNew(component, s)) return;
  for (let turns = 0;; ++turns) {
    const from = angleTrained(component, s) / component.frequency + turns * wavelength(component);
    if (from >= axis.end) return;
    const x = axis.at(from), to = axis.at(Math.min(axis.end, (turns + 1) * wavelength(component)));
    add(svg, 'rect', {x: rounded(x), y, width: rounded(to - x), height, fill: 'url(#hatch_map)', class: 'hatched'});
  }
}

// RoPE's curve and the chosen encoding's over distance, with a legend; returns what moves to a distance.
function compare(container, s, {ropes, chosen, label, height = 250, description, low, high, digits}) {
  const same = s.encoding === 'rope', curves = same ? [] : [{f: ropes, color: 'var(--rope)', name: 'RoPE'}];
  curves.push({f: chosen, color: 'var(--chosen)', name: encodings[s.encoding].name});
  const chart = distanceChart(container, s, {height, low, high, label, description, digits});
  let x = chart.axis.right;
  for (const {color, name} of [...curves].reverse()) {
    const text = add(chart.svg, 'text', {x, y: 12, 'text-anchor': 'end', class: 'strong'}, name);
    x -= text.getComputedTextLength() + 6;
    add(chart.svg, 'path', {d: `M${rounded(x - 22)} 8H${rounded(x)}`, stroke: color, 'stroke-width': 3});
    x -= 40;
  }
  for (const {f, color} of curves)
    add(chart.svg, 'path', {
      d: curve(chart.axis, chart.yOf, f),
      fill: 'none',
      stroke: color,
      'stroke-width': 1.6,
      'stroke-linejoin': 'round',
      class: 'curve'
    });
  const dots = curves.map(
      ({color}) => add(chart.svg, 'circle', {r: 5, fill: color, stroke: 'var(--paper)', 'stroke-width': 1.5}));
  return distance => {
    chart.move(distance);
    curves.forEach(({f}, i) => {
      dots[i].setAttribute('cx', rounded(chart.axis.at(distance)));
      dots[i].setAttribute('cy', rounded(chart.yOf(f(distance))));
    });
  };
}

// The lowest and highest of both functions where a chart looks, and 0; a little room above and below.
function range(s, functions) {
  let low = 0, high = 0;
  const end = s.factor * s.length;
  for (const f of functions)
    for (let i = 0; i <= 400; ++i)
      for (const distance of [Math.min(i, end), Math.round(end * i / 400)]) {
        const value = f(distance);
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
  const room = 0.05 * (high - low) || 1;
  return {low: low - room, high: high + room};
}

// A bar for each component: the share of its circle met in training, and what first appears in a text of s L tokens.
function drawUnseen(container, s, components, description) {
  const width = Math.max(280, container.clientWidth), left = 46, right = width - 8, top = 10, bottom = 170;
  const svg = drawing(container, width, bottom + 38, description);
  const yOf = share => bottom - share * (bottom - top), step = (right - left) / components.length;
  for (const share of [0, 0.5, 1]) {
    add(svg, 'path', {d: `M${left} ${yOf(share)}H${right}`, stroke: 'var(--grid)'});
    add(svg, 'text', {x: left - 6, y: yOf(share) + 4, 'text-anchor': 'end'}, percent(share));
  }
  for (const c of components) {
    const seen = angleTrained(c, s) / turn, later = angleRead(c, s) / turn;
    const x = rounded(left + step * (c.index + 0.1)), bar = rounded(step * 0.8);
    add(svg, 'rect',
        {x, width: bar, y: rounded(yOf(seen)), height: rounded(bottom - yOf(seen)), fill: 'var(--seen)', opacity: 0.6});
    if (showsNew(c, s))
      add(svg, 'rect', {
        x,
        width: bar,
        y: rounded(yOf(later)),
        height: rounded(yOf(seen) - yOf(later)),
        fill: 'url(#hatch)',
        stroke: 'var(--unseen)',
        class: 'unseen_bar'
      });
  }
  const still = stopped(components), last = components.length;
  if (still.length > 0 && last - still[0].index === still.length)
    add(svg, 'text', {x: left + step * (still[0].index + last) / 2, y: bottom - 8, 'text-anchor': 'middle'},
        'stand still');
  const every = Math.max(1, stepOf(components.length, Math.floor((right - left) / 34)));
  for (let index = 0; index < components.length; index += every)
    add(svg, 'text', {x: left + step * (index + 0.5), y: bottom + 16, 'text-anchor': 'middle'}, index);
  add(svg, 'path', {d: `M${left} ${bottom}H${right}`, stroke: 'var(--muted)'});
  add(svg, 'text', {x: (left + right) / 2, y: bottom + 34, 'text-anchor': 'middle'}, 'component');
}
