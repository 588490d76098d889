// The icons of the reactions. They are SVG because not every system has a font with emoji.

const SVG = "http://www.w3.org/2000/svg";

const SHAPES = {
  like: "M3.5 10.5h3.6v9.4H3.5zM7.1 11.2l3.5-7.6c1.7 0 2.7 1.2 2.7 2.9v3h4.9c1.5 0 2.5 1.3 2.2 2.8l-1 5.4c-.2 1.3-1.3 2.2-2.6 2.2H7.1z",
  love: "M12 20.2C7.2 16.9 3.6 13.6 3.6 9.5 3.6 6.8 5.6 4.8 8.1 4.8c1.6 0 3 .8 3.9 2.2.9-1.4 2.3-2.2 3.9-2.2 2.5 0 4.5 2 4.5 4.7 0 4.1-3.6 7.4-8.4 10.7z",
  laugh: "M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0zM7.6 10c.5-1 1.7-1 2.2 0M14.2 10c.5-1 1.7-1 2.2 0M7.2 13.4h9.6c-.3 2.7-2.2 4.4-4.8 4.4s-4.5-1.7-4.8-4.4z",
};

export const KINDS = Object.keys(SHAPES);

// icon returns the icon of a kind of reaction. Screen readers do not see it, so the caller must
// add a text or a label.
export function icon(kind) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `icon ${kind}`);
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[kind]);
  svg.append(path);
  return svg;
}
