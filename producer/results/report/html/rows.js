const form = document.getElementById("filter");
if (form) {
  const rows = [...document.querySelectorAll("#single-rows details.row")];
  const apply = () => {
    const cell = form.cell.value, verdict = form.verdict.value, words = form.words.value.toLowerCase();
    let count = 0;
    for (const row of rows) {
      let any = false;
      for (const answer of row.querySelectorAll("article")) {
        const fits = (!cell || answer.dataset.cell === cell) && (!verdict || answer.dataset.verdict === verdict);
        answer.hidden = !fits;
        any ||= fits;
      }
      row.hidden = !any || !row.textContent.toLowerCase().includes(words);
      count += !row.hidden;
    }
    form.count.value = count + " of " + rows.length + " rows";
    document.getElementById("none-found").hidden = count > 0;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}
