"use strict";

// Draws the charts of the dashboard from the data that the page holds, and anew when the theme changes.
(function () {
    const held = document.getElementById("dash-charts");
    const root = document.querySelector(".dash");
    if (!held || !root || typeof Chart === "undefined") {
        return;
    }
    const charts = JSON.parse(held.textContent);
    const drawn = new Map();
    const colour = (name) => getComputedStyle(root).getPropertyValue(`--dash-${name}`).trim();

    function dataset(line, filled) {
        const shade = colour(line.colour);
        return {
            label: line.name,
            data: line.values,
            borderColor: shade,
            backgroundColor: filled ? `${shade}22` : shade,
            borderDash: line.dashed ? [5, 4] : [],
            borderWidth: 2,
            fill: filled,
            pointRadius: 0,
            pointHoverRadius: 4,
            pointStyle: "line",
            tension: 0.25,
        };
    }

    function settings(chart, small) {
        const quiet = colour("quiet");
        const number = (value) => value.toLocaleString("en") + (chart.unit ? ` ${chart.unit}` : "");
        return {
            animation: false,
            interaction: { intersect: false, mode: "index" },
            maintainAspectRatio: false,
            plugins: {
                datalabels: false,
                legend: {
                    align: "start",
                    display: !small && chart.lines.length > 1,
                    labels: { boxHeight: 6, boxWidth: 18, color: quiet, usePointStyle: true },
                    position: "bottom",
                },
                tooltip: { callbacks: { label: (item) => ` ${item.dataset.label}: ${number(item.parsed.y)}` } },
            },
            scales: {
                x: {
                    border: { display: false },
                    display: !small,
                    grid: { display: false },
                    ticks: { color: quiet, maxRotation: 0, maxTicksLimit: 6 },
                },
                y: {
                    beginAtZero: true,
                    border: { display: false },
                    grid: { color: colour("border") },
                    ticks: { color: quiet, maxTicksLimit: small ? 2 : 5, precision: 0 },
                },
            },
        };
    }

    function draw() {
        for (const chart of charts) {
            const canvas = document.getElementById(chart.id);
            if (!canvas) {
                continue;
            }
            drawn.get(chart.id)?.destroy();
            const filled = chart.lines.length === 1 || chart.id.startsWith("burn-");
            drawn.set(
                chart.id,
                new Chart(canvas, {
                    type: chart.kind,
                    data: { labels: chart.labels, datasets: chart.lines.map((line) => dataset(line, filled && !line.dashed)) },
                    options: settings(chart, canvas.classList.contains("dash-small")),
                }),
            );
        }
    }

    draw();
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["class"] });
})();
