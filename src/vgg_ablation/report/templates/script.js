// The page says everything without this: it sorts tables by column, and opens what a link or the printer needs.
"use strict";
for (const table of document.querySelectorAll("table")) {
  const sort = (header) => {
    const value = (row) => {
      const text = row.cells[header.cellIndex].textContent.replaceAll(",", "");
      const time = /^([\d:.]+) (s|min|h|days)$/.exec(text);  // 25 s, 1:04 min, 1:39:42 h, 2.5 days
      if (time) return time[1].split(":").reduce((sum, part) => 60 * sum + Number(part), 0) * (time[2] === "days" ? 86400 : 1);
      const number = Number.parseFloat(text.replace("< ", ""));
      return Number.isNaN(number) ? text : number;
    };
    const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    const rows = [...table.tBodies[0].rows].sort((a, b) => direction * compare(value(a), value(b)));
    table.tBodies[0].append(...rows);
    for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  };
  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(header));
    header.append(button);
  }
}
const reveal = () => {
  const target = document.getElementById(location.hash.slice(1));
  const fold = target?.closest("details");
  if (fold) {
    fold.open = true;
    target.scrollIntoView();
  }
};
addEventListener("hashchange", reveal);
reveal();
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const details of folded) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of folded) details.open = false;
});
