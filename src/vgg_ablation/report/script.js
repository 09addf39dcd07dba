// The page says everything without this; with it tables sort, the theme can be chosen, and the contents show the place.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");

  const button = document.querySelector(".theme");
  const themes = ["auto", "light", "dark"];
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "auto") + 1) % themes.length];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    button.textContent = `Theme: ${next}`;
  });

  // Values that a cell has for sorting are in data-value; a number there sorts as one, nothing there sorts last.
  const compare = (first, second) => {
    if (first === "" || second === "") return (first === "") - (second === "");
    const numbers = [Number(first), Number(second)];
    return numbers.some(Number.isNaN) ? first.localeCompare(second, "en", { numeric: true }) : numbers[0] - numbers[1];
  };
  const sort = (table, header) => {
    const downwards = header.getAttribute("aria-sort") === "ascending";
    const rows = [...table.tBodies[0].rows].map((row) => {
      const cell = row.cells[header.cellIndex];
      return { row, value: cell.dataset.value ?? cell.textContent.trim() };
    });
    rows.sort((a, b) => {
      const order = compare(a.value, b.value);
      return downwards && a.value !== "" && b.value !== "" ? -order : order;
    });
    table.tBodies[0].append(...rows.map(({ row }) => row));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", downwards ? "descending" : "ascending");
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    for (const header of table.tHead.rows[0].cells) {
      const control = document.createElement("button");
      control.type = "button";
      control.className = "sort";
      control.append(...header.childNodes);
      control.addEventListener("click", () => sort(table, header));
      header.append(control);
    }
  }

  // A region is a stop of the Tab key only while it has something to scroll.
  const reachable = () => {
    for (const region of document.querySelectorAll(".scroll, .panels[role]")) {
      if (region.scrollWidth > region.clientWidth || region.scrollHeight > region.clientHeight) region.tabIndex = 0;
      else region.removeAttribute("tabindex");
    }
  };
  addEventListener("resize", reachable);
  document.addEventListener("toggle", reachable, true);
  reachable();

  // The contents are folded on small screens only.
  const contents = document.querySelector(".contents details");
  const roomy = matchMedia("(min-width: 76rem)");
  const unfold = () => { contents.open = roomy.matches; };
  roomy.addEventListener("change", unfold);
  unfold();

  const links = new Map([...document.querySelectorAll("nav a[href^='#']")].map((link) => [link.hash.slice(1), link]));
  const seen = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) seen[isIntersecting ? "add" : "delete"](target.id);
    const here = [...links.keys()].find((id) => seen.has(id));
    for (const [id, link] of links) {
      if (id === here) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-10% 0px -60% 0px" });
  for (const section of document.querySelectorAll("main > section")) watch.observe(section);
})();
