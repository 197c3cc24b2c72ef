// Draws every figure of the page in the colours of its theme, and again when the reader switches light and dark.
(() => {
  "use strict";
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  const theme = () => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { gridcolor: colour("--line"), linecolor: colour("--line"), tickcolor: colour("--line") };
    return { font: { family: style.fontFamily, size: 13, color: colour("--text") }, axis, page: colour("--card") };
  };

  const themed = (layout) => {
    const { font, axis, page } = theme();
    return {
      ...layout,
      font,
      paper_bgcolor: "transparent",
      plot_bgcolor: "transparent",
      hoverlabel: { bgcolor: page, bordercolor: axis.linecolor, font, align: "left" },
      transition: { duration: still.matches ? 0 : 150 },
      xaxis: { ...layout.xaxis, ...axis },
      yaxis: { ...layout.yaxis, ...axis },
    };
  };

  const options = { responsive: true, displayModeBar: false };

  const draw = () => {
    for (const plot of document.querySelectorAll("[data-figure]")) {
      const figure = JSON.parse(document.getElementById(plot.dataset.figure).textContent);
      Plotly.react(plot, figure.data, themed(figure.layout), options);
    }
  };

  dark.addEventListener("change", draw);
  draw();
})();
