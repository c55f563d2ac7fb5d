"""What runs web bundles in a headless browser: `tools` finds it, `driver.mjs` drives it, `runtimes.browser_engine` is the engine."""
