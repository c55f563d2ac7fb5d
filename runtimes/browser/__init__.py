"""What runs web bundles in a headless browser: `tools` finds it, `driver.mjs` drives it, `runner.html` is the page."""
