// Headless Chromium with the page in it. Nothing is fetched but the page's own files.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRequire } from 'node:module';
import { chromium, type Browser, type Page, type Route } from 'playwright-core';
import sharp from 'sharp';
import { encode, type Picture } from './picture';

const ORIGIN = 'http://pictures.invalid';
const BUILD = dirname(fileURLToPath(import.meta.url));
const packaged = (name: string): string => dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
const TIMEOUT = 60_000;
const HTML = '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/page.css"><div id="root"></div><script src="/page.js"></script>';

export class Studio {
  private constructor(
    private readonly browser: Browser,
    private readonly width: number,
  ) {}

  static async open(executablePath: string, width: number): Promise<Studio> {
    // Chromium's sandbox refuses root, and a container's kernel; the page is our own and reaches no network.
    const args = ['--no-sandbox', '--force-color-profile=srgb'];
    const browser = await chromium.launch({ executablePath, args, timeout: TIMEOUT });
    return new Studio(browser, width);
  }

  close(): Promise<void> {
    return this.browser.close();
  }

  /** A PNG of the whole dashboard. Throws what the page throws. */
  async draw(picture: Picture): Promise<Buffer> {
    const context = await this.browser.newContext({
      viewport: { width: this.width, height: 900 },
      timezoneId: 'UTC',
      locale: 'en-US',
      reducedMotion: 'reduce',
    });
    try {
      const page = await context.newPage();
      const problems: string[] = [];
      page.on('pageerror', (error) => problems.push(error.message));
      page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
      await page.route('**', (route) => serve(route, problems));
      await page.goto(ORIGIN, { timeout: TIMEOUT });
      await this.fit(page, picture);
      const png = await page.screenshot({ animations: 'disabled', timeout: TIMEOUT });
      if (problems.length > 0) {
        throw new Error(`${picture.dashboard.title}: ${problems.join('; ')}`);
      }
      // 256 colours are plenty for a dashboard, and a third of the size.
      return await sharp(png).png({ palette: true, effort: 10 }).toBuffer();
    } finally {
      await context.close();
    }
  }

  /** Draws, then makes the window as high as what was drawn. */
  private async fit(page: Page, picture: Picture): Promise<void> {
    const height = await page.evaluate((text) => window.draw(text), encode(picture));
    await page.setViewportSize({ width: this.width, height });
    // Icons come one by one, and stand as empty drawings until then.
    await page.waitForFunction(() => !document.querySelector('svg:empty'), null, { timeout: TIMEOUT });
    await page.evaluate(() => document.fonts.ready.then(() => new Promise(requestAnimationFrame)));
  }
}

/** The file behind a path, where Grafana's components expect their server to have it. */
function file(path: string): string {
  const icon = /^\/public\/build\/img\/icons\/(\w+\/[\w-]+\.svg)$/.exec(path)?.[1];
  if (icon) {
    return join(packaged('@grafana/ui'), 'dist/public/img/icons', icon);
  }
  const font = /^\/public\/fonts\/(?:inter\/Inter-(Regular|Medium)|roboto\/\w+)/.exec(path);
  if (font) {
    const name = font[1] ? 'inter' : 'roboto-mono';
    return join(packaged(`@fontsource/${name}`), `files/${name}-latin-${font[1] === 'Medium' ? 500 : 400}-normal.woff2`);
  }
  return join(BUILD, path);
}

async function serve(route: Route, problems: string[]): Promise<void> {
  const { pathname, origin } = new URL(route.request().url());
  try {
    if (origin !== ORIGIN) {
      throw new Error('the page asks for something outside');
    }
    const page = { contentType: 'text/html; charset=utf-8', body: HTML };
    await route.fulfill(pathname === '/' ? page : { path: file(pathname) });
  } catch (error) {
    problems.push(`${pathname}: ${(error as Error).message}`);
    await route.abort();
  }
}
