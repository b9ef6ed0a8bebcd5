// Drawing: elements of SVG, numbers as text, an axis of distances, the frame of a chart. Text goes in as text, never as
// markup.

const byId = id => document.getElementById(id);

function add(parent, name, attributes = {}, text = '') {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  parent.append(element);
  return element;
}

// An empty <svg> of so many pixels in a container; its description is for those who do not see it.
function drawing(container, width, height, description) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', description);
  container.replaceChildren(svg);
  return svg;
}

const rounded = x => Math.round(x * 100) / 100;  // of a coordinate
const path = points => 'M' + points.map(([x, y]) => `${rounded(x)} ${rounded(y)}`).join('L');
const minus = text => text.replace('-', '\u2212');
const fixed = (x, digits) => minus((Math.abs(x) < 0.5 * 10 ** -digits ? 0 : x).toFixed(digits));
const grouped = x => String(x).replace(/\B(?=(\d{3})+$)/g, '\u202f');
// Tokens, of any size, in about four digits.
const tokens = x => x === Infinity ? 'none' : x < 1000 ? String(Number(x.toPrecision(4))) : grouped(Math.round(x));
const percent = x => x > 0 && x < 0.005 ? '< 1 %' : `${Math.round(100 * x)} %`;

// 1, 2 or 5 times a power of ten, the smallest that makes at most `count` steps of `range`.
function stepOf(range, count) {
  const power = 10 ** Math.floor(Math.log10(range / count));
  return [1, 2, 5, 10].map(m => m * power).find(step => range / step <= count * 1.0001);
}

// Distances 0 to `end` on pixels left to right. Where logarithmic, x = log(1 + distance), so that 0 has a place.
function distanceAxis(end, logarithmic, left, right) {
  const f = logarithmic ? Math.log1p : x => x, inverse = logarithmic ? Math.expm1 : x => x;
  const scale = (right - left) / f(end);
  const ticks = [0];
  if (logarithmic) {
    const factor = 2 ** Math.ceil(Math.log2(end) / Math.max(2, (right - left) / 62));
    for (let t = 1; t <= end; t *= factor) ticks.push(t);
  } else {
    const step =
        2 ** Math.ceil(Math.log2(end / Math.max(2, (right - left) / 75)));  // L and s L are often powers of two
    for (let t = step; t <= end; t += step) ticks.push(t);
  }
  return {
    end,
    left,
    right,
    ticks,
    at: distance => left + f(distance) * scale,
    distanceAt: x => inverse((x - left) / scale)
  };
}

// The frame: horizontal lines at the values' ticks, distances below, the line at L. Returns where things are, with a
// marker that `move(distance)` puts at a distance.
function distanceChart(container, s, {height, low, high, label, digits = 0, description}) {
  const width = Math.max(300, container.clientWidth), top = 34, bottom = height - 40;
  const svg = drawing(container, width, height, description);
  const axis = distanceAxis(s.factor * s.length, s.axis === 'log', 46, width - 8);
  const yOf = value => bottom - (value - low) / (high - low) * (bottom - top);
  const step = stepOf(high - low, 5);
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1000; tick += step) {
    add(svg, 'path', {d: `M${axis.left} ${rounded(yOf(tick))}H${axis.right}`, stroke: 'var(--grid)'});
    add(svg, 'text', {x: axis.left - 7, y: yOf(tick) + 4, 'text-anchor': 'end'},
        fixed(tick, Math.max(digits, -Math.floor(Math.log10(step) + 1e-9))));
  }
  distanceTicks(svg, axis, bottom);
  lineAtLength(svg, axis, s, top, bottom);
  add(svg, 'text', {x: axis.left, y: 12}, label);
  const marker = add(svg, 'path', {stroke: 'var(--ink)', 'stroke-width': 1, 'stroke-dasharray': '2 2'});
  return {
    svg,
    axis,
    yOf,
    width,
    top,
    bottom,
    move: distance => marker.setAttribute('d', `M${rounded(axis.at(distance))} ${top}V${bottom}`),
  };
}

function distanceTicks(svg, axis, bottom) {
  for (const tick of axis.ticks) {
    const x = axis.at(tick), anchor = x > axis.right - 14 ? 'end' : 'middle';
    add(svg, 'path', {d: `M${rounded(x)} ${bottom}v4`, stroke: 'var(--muted)'});
    add(svg, 'text', {x: anchor === 'end' ? axis.right : x, y: bottom + 17, 'text-anchor': anchor}, grouped(tick));
  }
  add(svg, 'path', {d: `M${axis.left} ${bottom}H${axis.right}`, stroke: 'var(--muted)'});
  add(svg, 'text', {x: (axis.left + axis.right) / 2, y: bottom + 34, 'text-anchor': 'middle'}, 'distance (tokens)');
}

function lineAtLength(svg, axis, s, top, bottom) {
  if (s.factor === 1) return;
  const x = axis.at(s.length), fits = axis.right - x > 70;
  add(svg, 'path',
      {d: `M${rounded(x)} ${top - 16}V${bottom}`, stroke: 'var(--ink)', 'stroke-width': 1.5, class: 'length'});
  add(svg, 'text', {x: fits ? x + 5 : x - 5, y: top - 6, 'text-anchor': fits ? 'start' : 'end', class: 'strong'},
      `L = ${grouped(s.length)}`);
}

// A function of distance as one path that stays readable where it turns faster than pixels: for each column the lowest
// and the highest of up to eight integer distances in it.
function curve(axis, yOf, f) {
  const points = [], columns = Math.min(Math.floor(axis.right - axis.left), 1000);
  let from = 0;
  for (let column = 1; column <= columns; ++column) {
    const to = axis.distanceAt(axis.left + (axis.right - axis.left) * column / columns);
    const first = Math.ceil(from), count = Math.floor(to + 1e-6) - first + 1;
    from = to + 1e-6;
    if (count <= 0) continue;
    const step = Math.max(1, Math.floor(count / 8));
    let low = Infinity, high = -Infinity, rises = true;
    for (let d = first; d < first + count; d += step) {
      const value = f(d);
      if (value < low) {
        low = value;
        rises = false;
      }
      if (value > high) {
        high = value;
        rises = true;
      }
    }
    const x = axis.at(count === 1 ? first : first + (count - 1) / 2);
    const pair = rises ? [[x, yOf(low)], [x, yOf(high)]] : [[x, yOf(high)], [x, yOf(low)]];
    points.push(...(low === high ? pair.slice(1) : pair));
  }
  return path(points);
}
