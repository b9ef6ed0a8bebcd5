// Colours of values and of series, in reports and in the explorer.
//
// Two maps for values, each from a few colours given as lightness, chroma and hue of OKLCH (Ottosson 2020), in which
// equal steps look equally large. Lightness alone already tells the values apart, so that they stay apart without
// colour, in print and for every kind of colour vision: it runs evenly from one end to the other, or from the middle to
// both ends. What is small lies near the page's ground, in light and in dark.

const darkScheme = matchMedia('screen and (prefers-color-scheme: dark)');
let printing = false;  // on paper everything is light

const isDark = () => darkScheme.matches && !printing;

const sequentialColors = [
  [0.26, 0.09, 285],
  [0.4, 0.13, 262],
  [0.54, 0.11, 240],
  [0.68, 0.11, 205],
  [0.82, 0.11, 155],
  [0.96, 0.06, 105],
];
// Blue below 0, orange above.
const divergingLight = [
  [0.36, 0.13, 262],
  [0.56, 0.13, 250],
  [0.77, 0.08, 240],
  [0.97, 0.0, 90],
  [0.77, 0.11, 68],
  [0.56, 0.14, 47],
  [0.36, 0.1, 40],
];
const divergingDark = [
  [0.89, 0.07, 220],
  [0.68, 0.12, 240],
  [0.46, 0.12, 255],
  [0.25, 0.0, 90],
  [0.46, 0.1, 45],
  [0.68, 0.14, 58],
  [0.89, 0.1, 85],
];

const fromLightnessChromaHue = ([lightness, chroma, hue]) => {
  const radians = hue * Math.PI / 180;
  return [lightness, chroma * Math.cos(radians), chroma * Math.sin(radians)];
};

// Bytes of sRGB from OKLab; colours outside its gamut are clipped.
function bytesOf([lightness, a, b]) {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  return linear.map((part) => {
    const gamma = part <= 0.0031308 ? 12.92 * part : 1.055 * part ** (1 / 2.4) - 0.055;
    return Math.round(255 * Math.min(1, Math.max(0, gamma)));
  });
}

// The colour at `fraction` (0 to 1) of the way along evenly spaced colours.
function colorAlong(colors, fraction) {
  const place = fraction * (colors.length - 1);
  const index = Math.min(Math.floor(place), colors.length - 2);
  const [from, to] = [colors[index], colors[index + 1]].map(fromLightnessChromaHue);
  return bytesOf(from.map((part, i) => part + (to[i] - part) * (place - index)));
}

const cssColor = ([red, green, blue]) => `rgb(${red},${green},${blue})`;

// [red, green, blue] of the fraction of the range that a value lies at.
function colorMap(diverging) {
  if (diverging) return (fraction) => colorAlong(isDark() ? divergingDark : divergingLight, fraction);
  return (fraction) => colorAlong(sequentialColors, isDark() ? fraction : 1 - fraction);
}

// The colours of 256 fractions as the pixels of a canvas.
function colorTable(diverging) {
  const map = colorMap(diverging), table = new Uint32Array(256);
  const bytes = new Uint8ClampedArray(table.buffer);
  for (let i = 0; i < 256; ++i) bytes.set([...map(i / 255), 255], 4 * i);
  return table;
}

// The palette of the page for up to 8 series; for more, words take it again, with dashes, and numbers, which have an
// order, take the colours of values.
const paletteSize = 8;

function seriesStyle(series, index) {
  const count = series?.entries.length ?? 1;
  if (count > paletteSize && typeof series.entries[0] === 'number') {
    const map = colorMap(false);
    return {color: cssColor(map(0.4 + 0.6 * index / (count - 1))), dashes: 'none'};
  }
  const round = Math.floor(index / paletteSize);
  const dashes = ['none', '7 4', '2 4', '9 4 2 4'][round % 4];
  return {color: `var(--series-${index % paletteSize})`, dashes};
}
