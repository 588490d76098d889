// A chart of one or two series of numbers, one for each second, as SVG.

const width = 240;
const height = 56;

const svg = (name, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

// chart returns an element and a function that shows values. lines are the names of the series, and
// format makes a number a text.
export function chart(title, lines, format) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const name = document.createElement("span");
  name.className = "name";
  name.textContent = title;
  const now = document.createElement("b");
  const top = document.createElement("span");
  top.className = "top";
  caption.append(name, now, top);
  const image = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img" });
  image.append(svg("line", { x1: 0, x2: width, y1: height - 1, y2: height - 1, class: "axis" }));
  const area = svg("path", { class: "area" });
  image.append(area);
  const paths = lines.map((_, i) => svg("path", { class: `line line-${i}` }));
  image.append(...paths);
  figure.append(caption, image);

  const show = (...series) => {
    const most = Math.max(...series.flat(), 0);
    const points = series.map((values) => values.map((value, i) =>
      `${((i / (values.length - 1)) * width).toFixed(1)},${(height - 2 - (value / (most || 1)) * (height - 6)).toFixed(1)}`));
    points.forEach((line, i) => paths[i].setAttribute("d", `M${line.join("L")}`));
    area.setAttribute("d", `M0,${height - 1}L${points[0].join("L")}L${width},${height - 1}Z`);
    const last = series.map((values) => values.at(-1));
    now.textContent = last.map(format).join(" / ");
    top.textContent = most ? `up to ${format(most)}` : "";
    image.setAttribute("aria-label", `${title}: ${lines.map((line, i) => `${line} ${format(last[i])}`).join(", ")} in the last second, up to ${format(most)} in two minutes`);
  };
  return { figure, show };
}
