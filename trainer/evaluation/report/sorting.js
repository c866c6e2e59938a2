for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const header = button.parentElement, row = header.parentElement, column = [...row.children].indexOf(header);
    const body = header.closest("table").tBodies[0];
    const rising = header.getAttribute("aria-sort") === "descending";
    for (const other of row.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const key = (line) => { const text = line.children[column].firstChild.textContent.trim().replaceAll(",", "");
      return text !== "" && !isNaN(text) ? Number(text) : text; };
    const order = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    [...body.rows].sort((a, b) => (rising ? 1 : -1) * order(key(a), key(b))).forEach((line) => body.append(line));
  });
}
