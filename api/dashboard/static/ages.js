// Ages go on while a page stands open.

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function age(seconds) {
  const unit = UNITS.find(([, length]) => seconds >= length);
  return unit ? `${Math.floor(seconds / unit[1])} ${unit[0]}` : "now";
}

setInterval(() => {
  for (const time of document.querySelectorAll("time[data-age]")) {
    const text = age((Date.now() - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
}, 5000);
